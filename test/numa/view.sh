#!/bin/sh
# In the lab: our view of the machine, tested; the programs that came along with placement.sh; then what the report and
# /proc say about a program on it, for the host.
status=0
for test in ./unit_*; do
    $test || status=1
done
if [ -e placement.sh ]; then
    LD_PRELOAD=/lab/$LIBRARY UMALLOC_LIB=/lab/$LIBRARY ./placement.sh || status=1
fi
mkfifo input
LD_PRELOAD=./$LIBRARY UMALLOC_STATS=json UMALLOC_STATS_FILE=report ./view <input >output &
exec 3>input
until [ -s output ]; do :; done
for name in auxv smaps numa_maps; do
    cat /proc/$!/$name >$name
done
exec 3>&-
wait $! || status=1
for name in output report auxv smaps numa_maps; do
    echo "file $name"
    base64 $name
done
exit $status

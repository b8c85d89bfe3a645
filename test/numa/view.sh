#!/bin/sh
# In the lab: our view of the machine, tested; then what the report and /proc say about a program on it, for the host.
status=0
for test in ./unit_*; do
    $test -j1 --color=never || status=1
done
mkfifo input
LD_PRELOAD=./$LIBRARY UMALLOC_STATS=json UMALLOC_STATS_FILE=report ./numa_view <input >output &
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

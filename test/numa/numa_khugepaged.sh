#!/bin/sh
# In the lab: what khugepaged makes of a heap that was churned, where huge pages are everybody's. It runs all the time, and
# the program waits until it has been through all memory. In the mode that guards nothing it must find something to do, or
# the rest would prove nothing.
#
#     numa_khugepaged.sh: needs huge_pages (test/bars/huge.c), and the library preloaded
settings=/sys/kernel/mm/transparent_hugepage/khugepaged
echo 0 >$settings/alloc_sleep_millisecs
echo 100000 >$settings/pages_to_scan
echo 0 >$settings/scan_sleep_millisecs
status=0

# Figures of a run, each as a variable.
run() {
    UMALLOC_HUGEPAGES=$1 ./huge_pages scan 192 150000 1100 >figures || exit 1
    while read -r name value; do
        eval "$name=${value%.*}"
    done <figures
    echo "$1: live $live MiB, after decay $decayed, of it huge $huge; after khugepaged $collapsed, huge $huge_then"
}

expect() {
    if [ "$1" -gt "$2" ]; then
        echo "FAILED: $3"
        status=1
    fi
}

for mode in auto thp; do
    run $mode
    expect $((100 * collapsed)) $((115 * live)) "more than 1.15 of live"
    expect $((100 * collapsed)) $((103 * decayed + 100)) "khugepaged brought back what was given back"
done
expect 1 "$huge" "no huge pages to break up"
before=$(cat $settings/pages_collapsed)
run always
expect $((before + 10)) "$(cat $settings/pages_collapsed)" "khugepaged did nothing"
exit $status

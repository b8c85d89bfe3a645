#!/bin/sh
# In the lab, on two nodes: sets pools of huge pages up and runs ./pinned. Says what failed; the status is the number of
# failures.
failed=0
folder=/sys/devices/system/node
SHORT="umalloc: UMALLOC_HUGEPAGES=hugetlb:2M: the pool has too few pages (errno 12); using ordinary pages too"
PART="umalloc: UMALLOC_PREFAULT: not all of the memory can be had (errno 12); going on without the rest"

pool() { # NODE PAGES
    echo "$2" >$folder/node$1/hugepages/hugepages-2048kB/nr_hugepages
}

try() { # STATUS-OF-TEST WHAT
    if [ "$1" -eq 0 ]; then echo "ok: $2"; else echo "FAILED: $2 ($(cat out err))"; failed=$((failed + 1)); fi
}

run() { # OPTIONS ARGUMENTS: output and notices in out and err; the status
    env $1 ./pinned $2 >out 2>err
}

huge=UMALLOC_HUGEPAGES=hugetlb:2M
pool 0 40
for policy in local local-strict bind:1 prefer:1; do
    run "$huge UMALLOC_NUMA=$policy" "fill 1 40" && [ "$(cat out)" = "100 0" ] && [ "$(cat err)" = "$SHORT" ]
    try $? "pool on the other node alone, $policy"
done
for policy in local local-strict bind:0; do
    run "$huge UMALLOC_NUMA=$policy" "fill 0 40" && read share mib <out && [ "$share" -eq 100 ] && [ "$mib" -ge 36 ] && ! [ -s err ]
    try $? "pool on the node, $policy"
done
run "$huge UMALLOC_NUMA=bind:0,1" "fill 0 100" && read share mib <out && [ "$mib" -ge 70 ] && [ "$(cat err)" = "$SHORT" ]
try $? "pool that is short, bind to both"
run "$huge UMALLOC_PREFAULT=60M UMALLOC_NUMA=bind:0" start && read mib rss <out && [ "$mib" -ge 56 ] && [ "$rss" -le 20 ] && ! [ -s err ]
try $? "put into place from the pool"
run "$huge UMALLOC_PREFAULT=120M UMALLOC_NUMA=bind:0" start && read mib rss <out && [ "$mib" -ge 76 ] && [ "$rss" -ge 36 ] && [ "$(cat err)" = "$SHORT" ]
try $? "put into place from a pool that is short"
pool 0 0

for policy in local local-strict bind:0 interleave; do
    run "UMALLOC_PREFAULT=64M UMALLOC_NUMA=$policy" quiet && ! [ -s err ]
    try $? "no page fault on either node, $policy"
done
run "UMALLOC_PREFAULT=100M UMALLOC_NUMA=round-robin" quiet && ! [ -s err ]
try $? "no page fault, round-robin"
total=$(sed -n 's/.*MemTotal: *\([0-9]*\) kB/\1/p' $folder/node1/meminfo)
for policy in local round-robin local-strict; do
    run "UMALLOC_PREFAULT=4G UMALLOC_NUMA=$policy" start && [ "$(cat err)" = "$PART" ] && read mib rss <out && [ "$rss" -ge $((total / 2048)) ]
    try $? "more than there is, $policy"
done
run "UMALLOC_PREFAULT=$((total / 1000))M UMALLOC_NUMA=local-strict" "fill 1 $((total / 2048))" && read share mib <out && [ "$share" -eq 100 ]
try $? "no more than the node has, local-strict"
exit $failed

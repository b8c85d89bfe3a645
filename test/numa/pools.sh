# In the lab: sets pools of huge pages up and runs ./pools on them. Says what failed; the status is the number of
# failures.
failed=0

pool() { # pages of 2 MiB
    echo "$1" >/proc/sys/vm/nr_hugepages
}

free_pages() {
    sed -n 's/HugePages_Free: *//p' /proc/meminfo
}

try() { # STATUS-OF-TEST WHAT
    if [ "$1" -eq 0 ]; then echo "ok: $2"; else echo "FAILED: $2"; failed=$((failed + 1)); fi
}

run() { # SIZE MODE ARGUMENTS: output and notices in out and err; the status
    size=$1
    shift
    UMALLOC_HUGEPAGES=hugetlb:$size LD_PRELOAD="$(echo /lab/libumalloc.so*)" ./pools "$@" >out 2>err
}

NOTICE="umalloc: UMALLOC_HUGEPAGES=hugetlb:2M: the pool has too few pages (errno 12); using ordinary pages too"

run 1G fill 64 && [ "$(cat out)" -ge 1024 ] && ! [ -s err ]
try $? "1 GiB page ($(cat out) MiB, $(cat err))"
run 1G fork 64 1 && ! [ -s err ]
try $? "1 GiB page, children"

pool 100
run 2M fill 100 && [ "$(cat out)" -ge 92 ] && ! [ -s err ]
try $? "pool that is large enough ($(cat out) MiB, $(cat err))"
[ "$(free_pages)" -eq 100 ]
try $? "all pages are back"
run 2M cycle 60 && read a b c d e f rest <out && [ "$a" -ge 50 ] && [ "$b" -le 16 ] && [ "$c" -ge 50 ] && [ "$d" -le 16 ]
try $? "given back and taken again ($(cat out))"

UMALLOC_HARDEN=on run 2M fill 60 && [ "$(cat out)" -eq 0 ] && ! [ -s err ]
try $? "the hardened allocator takes none ($(cat out) MiB, $(cat err))"

pool 20
run 2M fill 150 && [ "$(cat out)" -ge 30 ] && [ "$(cat out)" -le 40 ] && [ "$(cat err)" = "$NOTICE" ]
try $? "pool that is short, said once ($(cat out) MiB, $(cat err))"
run 2M race 60 10 && [ "$(cat err)" = "$NOTICE" ]
try $? "pool that another process takes too ($(cat err))"
run 2M fork 100 5 && [ "$(cat err)" = "$NOTICE" ]
try $? "children with an empty pool ($(cat err))"
run 2M _Fork 100 5 && [ "$(cat err)" = "$NOTICE" ]
try $? "children by _Fork with an empty pool ($(cat err))"
UMALLOC_THREAD_CACHE=0 run 2M threads 60 5 && [ "$(cat err)" = "$NOTICE" ]
try $? "children beside threads, with an empty pool ($(cat err))"

pool 0
run 2M fill 30 && [ "$(cat out)" -eq 0 ] && [ "$(cat err)" = "$NOTICE" ]
try $? "no pool ($(cat err))"
run 2M fill 1 && ! [ -s err ]
try $? "small programs take nothing and say nothing"
exit $failed

#!/bin/sh
# In the lab: every program of these tests that came along, one after the other.
status=0
for program in ./numa_*; do
    echo "$program"
    $program || status=1
done
exit $status

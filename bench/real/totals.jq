# A query over an array of records in jq, for which every value and every intermediate one is a block of malloc: by city,
# names in capitals and the total over all lines. Usage: jq -f totals.jq FILE
map(select(.lines | length > 1) | {city, name, total: ([.lines[] | .count * .price] | add)})
| group_by(.city)
| map({city: .[0].city, names: map(.name | ascii_upcase), total: (map(.total) | add | floor)})

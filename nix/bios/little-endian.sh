# little_endian NUMBER BYTES: a number as boot sectors and partition tables have it.
little_endian() {
  local number=$1 count=$2
  while [ "$count" -gt 0 ]; do
    printf "\\x$(printf %02x $((number & 255)))"
    number=$((number >> 8)) count=$((count - 1))
  done
}

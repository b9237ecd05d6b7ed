#!/bin/sh
# Writes reference.csv: what PROJ says of 30 places in the area of use of every
# built-in code, as code,lon,lat,first,second with the axes in the order of the
# authority. Needs cs2cs and projinfo (Debian: proj-bin) and awk.
#
#	cd gateway/geo/testdata && ./reference.sh
#
# PROJ sees its database alone, and no network: with a grid it would take the
# grid, and be metres elsewhere.
set -eu
cd "$(dirname "$0")"
db=$(find / -name proj.db -path '*proj*' 2>/dev/null | head -n 1)
bare=$(mktemp -d)
trap 'rm -rf "$bare"' EXIT
cp "$db" "$bare/"
export PROJ_DATA="$bare" PROJ_LIB="$bare" PROJ_NETWORK=OFF LC_ALL=C

{
	echo "# cs2cs $(cs2cs 2>&1 | head -n 1), by reference.sh"
	for code in 4326 4258 3857 900913 3395 $(seq 32601 32660) $(seq 32701 32760) \
		$(seq 25828 25838) $(seq 31466 31469) 21781 2056 27700 2154 $(seq 3942 3950) \
		3035 31370 28992 $(seq 31254 31259) $(seq 31284 31287) 5514 2180 3006; do
		# BBOX[south,west,north,east]. Some areas cross the date line.
		projinfo "EPSG:$code" -o WKT2:2019 |
			sed -n 's/.*BBOX\[\(.*\)\]\].*/\1/p' | head -n 1 |
			awk -F, '{
				if ($4 < $2) $4 += 360
				for (i = 0; i < 6; i++) for (j = 0; j < 5; j++) {
					lon = $2 + ($4 - $2) * (i + 0.2 + 0.13 * j) / 6
					lat = $1 + ($3 - $1) * (j + 0.3 + 0.07 * i) / 5
					if (lon > 180) lon -= 360
					printf "%.6f %.6f\n", lat, lon
				}
			}' >"$bare/places"
		cs2cs -f %.9f EPSG:4326 "EPSG:$code" "$bare/places" |
			paste -d ' ' "$bare/places" - | tr -s '\t ' ' ' |
			awk -v code="$code" '{ printf "%s,%s,%s,%s,%s\n", code, $2, $1, $3, $4 }'
	done
} >reference.csv

# With the national grid (Debian: proj-data), which is within centimetres of the truth.
export PROJ_DATA=/usr/share/proj PROJ_LIB=/usr/share/proj
grep -v '^#' beta2007.csv | cut -d, -f1-3 >"$bare/cities"
{
	grep '^#' beta2007.csv
	while IFS=, read -r code lon lat; do
		zone=$((code - 31464))
		echo "$lat $lon" | cs2cs -f %.9f EPSG:4326 +to +proj=tmerc +lon_0=$((3 * zone)) +x_0=${zone}500000 +ellps=bessel +nadgrids=BETA2007.gsb +type=crs |
			awk -v head="$code,$lon,$lat" '{ printf "%s,%s,%s\n", head, $2, $1 }'
	done <"$bare/cities"
} >"$bare/beta2007.csv"
mv "$bare/beta2007.csv" beta2007.csv

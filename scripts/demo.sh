#!/usr/bin/env bash
# The main job, end to end, on the 45 photos that the repository carries: map, split, write, verify, and a look at the result.
# usage: scripts/demo.sh [FOLDER]      needs: shardforge on PATH
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-demo}
run() { printf '\n$ %s\n' "$*"; "$@"; }

rm -rf "$out"
mkdir -p "$out"
echo "45 public-domain photos of organisms: data/photos (authors and licences in data/photos/photos.csv)"
run shardforge map --db "$out/mapping.duckdb" --source photos=table:data/photos/photos.csv
run shardforge split --db "$out/mapping.duckdb" --seed 17 --val-split 20
run shardforge write --db "$out/mapping.duckdb" --out "$out/shards" --name photos --size 224 --label family
run shardforge verify "$out/shards/_info.json" --db "$out/mapping.duckdb" --level decode
echo "verified: every shard, every image, every label, and the mapping agrees"
printf '\n$ find %s -type f -not -path "*/.*" | sort\n' "$out/shards"
find "$out/shards" -type f -not -path '*/.*' | sort
printf '\n$ tar tvf %s | head -6\n' "$out/shards/train/photos-train-000000.tar"
tar tvf "$out/shards/train/photos-train-000000.tar" | sed -n 1,6p
cat <<TEXT

What next:${VIRTUAL_ENV:+
  these commands     . $VIRTUAL_ENV/bin/activate}
  your own photos    shardforge map --db mapping.duckdb --source mine=folder:/path/to/photos
  look inside        python -c "import duckdb; print(duckdb.sql(\"FROM '$out/shards/index/train.parquet' LIMIT 5\"))"
  train on them      pip install --editable '.[train]'
                     python -m shardforge.train.finetune --network resnet18 --wds-info $out/shards/_info.json \\
                         --size 64 --batch-size 8 --epochs 2 --out $out/run
  read more          README.md
TEXT

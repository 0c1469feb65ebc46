#!/usr/bin/env bash
# Trains the weights that come with slimneck, on pictures that it draws: scripts/default_weights.sh [FOLDER].
# Leaves slimneck-n-shapes.safetensors in FOLDER (build/default-weights), with the curve of the training (.csv) and what
# the weights reach on the test pictures (.json). Half an hour on two cores. On the same instruction set the files come
# out the same, bit for bit, for any number of threads.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

folder=${1:-build/default-weights}
name=slimneck-n-shapes
slimneck=build/release/bin/slimneck

install_dependencies
configure release
build build/release slimneck_cli
mkdir -p "$folder"
[ -e "$folder/shapes" ] || "$slimneck" data make-shapes "$folder/shapes" --images 1500 --img 320 --seed 0
"$slimneck" train --data "$folder/shapes/data.yaml" --cfg slimneck-n --img 320 --batch 16 --epochs 60 --optimizer AdamW --seed 0 \
  --project "$folder" --name run
best=$folder/run/weights/best.safetensors
"$slimneck" convert "$best" "$folder/$name.safetensors" --half
"$slimneck" val --weights "$folder/$name.safetensors" --data "$folder/shapes/data.yaml" --img 320 --task test --noplots \
  --json > "$folder/$name.json"
cp "$folder/run/results.csv" "$folder/$name.csv"
sha256sum "$folder/$name.safetensors"

#!/usr/bin/env bash
# The name of an image in REPOSITORY, as manifests have it: `names.sh platform` prints REPOSITORY/platform:VERSION-rayVERSION.
set -euo pipefail
cd "$(dirname "$0")/../.."
pin() { sed -n "s/^$1==//p" constraints.txt; }
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
case $1 in
    platform) tag=$version-ray$(pin ray) ;;
    platform-mlflow) tag=$version-mlflow$(pin mlflow) ;;
    *) echo "$1 is no image; platform or platform-mlflow" >&2; exit 2 ;;
esac
echo "${REPOSITORY,,}/$1:$tag"

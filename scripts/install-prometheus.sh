#!/usr/bin/env bash
# Installs Prometheus with its promtool, as Debian has them, where they are missing: tests read /metrics with both.
set -euo pipefail

if command -v prometheus > /dev/null && command -v promtool > /dev/null; then
  exit 0
fi

sudo=""
if [ "$(id -u)" -ne 0 ]; then
  sudo="sudo"
fi
$sudo apt-get update
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends prometheus

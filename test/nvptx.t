#!/bin/sh
# SPDX-License-Identifier: MIT
# The core as GPU code: see tools/nvptx-check.
cd "$(dirname "$0")/.." && exec "${MAKE:-make}" -s --no-print-directory nvptx-check

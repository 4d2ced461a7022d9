// SPDX-License-Identifier: Apache-2.0
// Exports on schedule, as a part of the program: `export` in the configuration. The files are told in schemas/export-format.md.
#ifndef GW_EXPORT_PART_H
#define GW_EXPORT_PART_H

#include "gateway/core.h"

#define GW_EXPORT_OUTLET "export" // its cursor's row in the journal is outlet/export/cursor

#endif

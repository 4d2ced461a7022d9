// SPDX-License-Identifier: Apache-2.0
// Exports on schedule, as a part of the program: `export` in the configuration. The files are told in schemas/export-format.md.
#ifndef GW_EXPORT_PART_H
#define GW_EXPORT_PART_H

#include "gateway/core.h"

#define GW_EXPORT_OUTLET "export" // its cursor's row in the journal is outlet/export/cursor

// Has whatever was exported of the time from from_us to to_us (device time) written again, as the series are by then: after readings were erased. At once, whatever
// export.delay_min says; durable when this returns, and done later where no exports run now.
enum gw_error gw_export_again(struct gw_intake *intake, int64_t from_us, int64_t to_us);

#endif

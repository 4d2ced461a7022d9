// SPDX-License-Identifier: Apache-2.0
// What `verify` has in common on a store and on a backup. Any thread.
#ifndef GW_VERIFY_ROW_H
#define GW_VERIFY_ROW_H

#include "gateway/journal_copy.h"

#include <yyjson.h>

// gw_verify.row: devices as the registry reads them, outboxes by their heads (schemas/journal-format.md). Rows of other owners count as readable.
bool gw_verify_row(void *arg, struct gw_span key, struct gw_span value, struct gw_why *why);
// The counts as members.
void gw_verified_members(const struct gw_verified *seen, yyjson_mut_doc *doc, yyjson_mut_val *object);

#endif

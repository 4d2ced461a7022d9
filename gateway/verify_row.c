// SPDX-License-Identifier: Apache-2.0
// Whether the journal's small rows can be read (gateway/verify_row.h). Any thread.
#include "gateway/verify_row.h"

#include "gateway/bytes.h"
#include "gateway/certificates.h"
#include "gateway/registry_row.h"

#include <string.h>

// u8 version, u8 length of MSH-10, u16 errors, i64 made, u16 length of the reason; from version 2 on: u8 length of the device, u8 lane, i64 least time
#define OUTBOX_HEAD_1 14
#define OUTBOX_HEAD 24

static bool
begins(struct gw_span key, const char *prefix)
{
	return key.len >= strlen(prefix) && memcmp(key.at, prefix, strlen(prefix)) == 0;
}

// "outlet/hl7/<destination>/<table>/<16 digits>"
static bool
in_table(struct gw_span key, const char *table)
{
	size_t len = strlen(table);

	return begins(key, "outlet/hl7/") && key.len > len + 16 && memcmp(key.at + key.len - 16 - len, table, len) == 0;
}

static bool
device(struct gw_span value, struct gw_why *why)
{
	struct gw_device read = { 0 };
	bool good = gw_device_row_read(value, &read, why) == GW_OK;

	gw_device_fini(&read);
	return good;
}

static bool
message(struct gw_span value, struct gw_why *why)
{
	bool first = value.len >= OUTBOX_HEAD_1 && value.at[0] == 1;
	size_t head = first ? OUTBOX_HEAD_1 : OUTBOX_HEAD;
	bool good = value.len >= head && (first || value.at[0] == 2) &&
	    head + value.at[1] + (first ? 0u : value.at[14]) + gw_get16(value.at + 12) <= value.len;

	if (!good)
		(void)gw_fail(why, GW_E_CORRUPT, "a message that cannot be read");
	return good;
}

bool
gw_verify_row(void *arg, struct gw_span key, struct gw_span value, struct gw_why *why)
{
	(void)arg;
	if (begins(key, GW_DEVICE_ROW_PREFIX))
		return device(value, why);
	if (begins(key, "certificate/"))
		return gw_certificate_row_good(value, why);
	if (in_table(key, "/outbox/") || in_table(key, "/parked/"))
		return message(value, why);
	return true;
}

void
gw_verified_members(const struct gw_verified *seen, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	yyjson_mut_obj_add_uint(doc, object, "records", seen->records);
	yyjson_mut_obj_add_uint(doc, object, "readings", seen->readings);
	yyjson_mut_obj_add_uint(doc, object, "first_position", seen->first);
	yyjson_mut_obj_add_uint(doc, object, "last_position", seen->last);
	yyjson_mut_obj_add_uint(doc, object, "index_entries", seen->index_entries);
	yyjson_mut_obj_add_uint(doc, object, "rows", seen->rows);
	yyjson_mut_obj_add_uint(doc, object, "quarantined", seen->quarantined);
	yyjson_mut_obj_add_uint(doc, object, "damaged_places", seen->damaged);
}

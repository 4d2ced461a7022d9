// SPDX-License-Identifier: Apache-2.0
// `events` for people: a table. Single-threaded.
#include "gateway/cli_handlers.h"
#include "gateway/cli_show.h"

void
gw_show_events(struct gw_show *show, yyjson_val *line)
{
	static const struct gw_column columns[] = { { .key = "at", .title = "AT" }, { .key = "event", .title = "EVENT" }, { .key = "reason", .title = "REASON" },
		{ .key = "protocol", .title = "PROTOCOL" }, { .key = "from", .title = "FROM" }, { .key = "claimed", .title = "CLAIMED" }, { .key = "device", .title = "DEVICE" },
		{ .key = "text", .title = "TEXT" }, { .key = "route", .title = "ROUTE" } };

	gw_show_row_or(show, columns, sizeof(columns) / sizeof(columns[0]), line, "nothing");
}

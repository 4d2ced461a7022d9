// SPDX-License-Identifier: Apache-2.0
// How `query` and `latest` look: readings, or steps. Single-threaded.
#include "gateway/cli_show.h"

#include "gateway/cli_handlers.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void
show_steps(struct gw_show *show, yyjson_val *line)
{
	static const struct gw_column columns[] = {
		{ .key = "time", .title = "FROM" }, { .key = "device", .title = "DEVICE" }, { .key = "signal", .title = "SIGNAL" },
		{ .key = "instance", .title = "#", .right = true }, { .key = "count", .title = "COUNT", .right = true }, { .key = "min", .title = "MIN", .right = true },
		{ .key = "max", .title = "MAX", .right = true }, { .key = "mean", .title = "MEAN", .right = true },
		{ .key = "first", .title = "FIRST", .right = true }, { .key = "last", .title = "LAST", .right = true }, { .key = "unit", .title = "UNIT" },
		{ .key = "questionable", .title = "QUESTIONABLE", .right = true }, { .key = "test", .csv_only = true },
		{ .key = "first_time", .csv_only = true }, { .key = "last_time", .csv_only = true }, { .key = "mdc", .csv_only = true },
	};

	gw_show_row(show, columns, COUNT(columns), line);
}

void
gw_show_query(struct gw_show *show, yyjson_val *line)
{
	static const struct gw_column columns[] = {
		{ .key = "time", .title = "DEVICE TIME" }, { .key = "device", .title = "DEVICE" }, { .key = "signal", .title = "SIGNAL" },
		{ .key = "instance", .title = "#", .right = true }, { .key = "value", .title = "VALUE", .right = true }, { .key = "unit", .title = "UNIT" },
		{ .key = "received.value", .title = "AS RECEIVED", .name = "value_received", .right = true },
		{ .key = "received.unit", .title = "UNIT", .name = "unit_received" }, { .key = "flags", .title = "FLAGS" },
		{ .key = "revision", .title = "REV", .right = true }, { .key = "received_time", .title = "RECEIVED" }, { .key = "unsure", .title = "UNSURE" },
		{ .key = "principal", .csv_only = true }, { .key = "door", .csv_only = true }, { .key = "auth", .csv_only = true },
		{ .key = "profile", .csv_only = true }, { .key = "kind", .csv_only = true }, { .key = "mdc", .csv_only = true },
		{ .key = "refid", .csv_only = true }, { .key = "id", .csv_only = true }, { .key = "sequence", .csv_only = true },
	};

	if (gw_cli_given(show->cli, "step"))
		show_steps(show, line);
	else
		gw_show_row(show, columns, COUNT(columns), line);
}

void
gw_show_latest(struct gw_show *show, yyjson_val *line)
{
	static const struct gw_column columns[] = {
		{ .key = "bed", .title = "BED" }, { .key = "device", .title = "DEVICE" }, { .key = "signal", .title = "SIGNAL" },
		{ .key = "instance", .title = "#", .right = true }, { .key = "value", .title = "VALUE", .right = true }, { .key = "unit", .title = "UNIT" },
		{ .key = "flags", .title = "FLAGS" }, { .key = "time", .title = "DEVICE TIME" }, { .key = "received_time", .title = "RECEIVED" },
		{ .key = "unsure", .title = "UNSURE" }, { .key = "taken", .title = "TAKEN" },
	};

	gw_show_row(show, columns, COUNT(columns), line);
}

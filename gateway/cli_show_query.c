// SPDX-License-Identifier: Apache-2.0
// How `query` and `latest` look: readings, or steps. Single-threaded.
#include "gateway/cli_show.h"

#include "gateway/cli_handlers.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// Where nothing was found words say so, on standard error; CSV has its head all the same.
static void
show_row(struct gw_show *show, const struct gw_column *columns, size_t count, yyjson_val *line)
{
	if (line != NULL || show->lines > 0 || show->format == GW_SHOW_CSV)
		gw_show_row(show, columns, count, line);
}

static void
show_steps(struct gw_show *show, yyjson_val *line)
{
	static const struct gw_column columns[] = {
		{ .key = "time", .title = "FROM" }, { .key = "device", .title = "DEVICE" }, { .key = "signal", .title = "SIGNAL" },
		{ .key = "instance", .title = "#", .right = true }, { .key = "count", .title = "COUNT", .right = true }, { .key = "min", .title = "MIN", .right = true },
		{ .key = "max", .title = "MAX", .right = true }, { .key = "mean", .title = "MEAN", .right = true },
		{ .key = "first", .title = "FIRST", .right = true }, { .key = "last", .title = "LAST", .right = true }, { .key = "unit", .title = "UNIT" },
		{ .key = "questionable", .title = "QUESTIONABLE", .right = true, .maybe = true }, { .key = "test", .csv_only = true },
		{ .key = "first_time", .csv_only = true }, { .key = "last_time", .csv_only = true }, { .key = "mdc", .csv_only = true },
	};

	show_row(show, columns, COUNT(columns), line);
}

void
gw_show_query(struct gw_show *show, yyjson_val *line)
{
	static const struct gw_column columns[] = {
		{ .key = "time", .title = "DEVICE TIME" }, { .key = "device", .title = "DEVICE" }, { .key = "signal", .title = "SIGNAL" },
		{ .key = "instance", .title = "#", .right = true }, { .key = "value", .title = "VALUE", .right = true }, { .key = "unit", .title = "UNIT" },
		{ .key = "received.value", .title = "AS RECEIVED", .name = "value_received", .right = true },
		{ .key = "received.unit", .title = "UNIT", .name = "unit_received", .maybe = true }, { .key = "flags", .title = "FLAGS", .maybe = true },
		{ .key = "revision", .title = "REV", .right = true }, { .key = "received_time", .title = "RECEIVED" }, { .key = "unsure", .title = "UNSURE", .maybe = true },
		{ .key = "principal", .csv_only = true }, { .key = "door", .csv_only = true }, { .key = "auth", .csv_only = true },
		{ .key = "profile", .csv_only = true }, { .key = "kind", .csv_only = true }, { .key = "mdc", .csv_only = true },
		{ .key = "refid", .csv_only = true }, { .key = "id", .csv_only = true }, { .key = "sequence", .csv_only = true },
	};

	if (gw_cli_given(show->cli, "step"))
		show_steps(show, line);
	else
		show_row(show, columns, COUNT(columns), line);
}

void
gw_show_latest(struct gw_show *show, yyjson_val *line)
{
	static const struct gw_column columns[] = {
		{ .key = "bed", .title = "BED", .maybe = true }, { .key = "device", .title = "DEVICE" }, { .key = "signal", .title = "SIGNAL" },
		{ .key = "instance", .title = "#", .right = true }, { .key = "value", .title = "VALUE", .right = true }, { .key = "unit", .title = "UNIT" },
		{ .key = "flags", .title = "FLAGS", .maybe = true }, { .key = "time", .title = "DEVICE TIME" }, { .key = "received_time", .title = "RECEIVED" },
		{ .key = "unsure", .title = "UNSURE", .maybe = true }, { .key = "taken", .title = "TAKEN", .maybe = true },
	};

	show_row(show, columns, COUNT(columns), line);
}

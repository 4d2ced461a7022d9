// SPDX-License-Identifier: Apache-2.0
// `salvage`: a new journal out of a damaged one, and what is missing. Single-threaded, without a gateway.
#include "gateway/cli_handlers.h"

#include "gateway/clock.h"
#include "gateway/salvage.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLACES_NAMED 100
#define PROGRESS_US 500000

struct report {
	const char *names[GW_SALVAGE_OUTLETS];
	char destinations[GW_CONFIG_ITEMS_MAX][GW_ID_MAX + 8];
	size_t count;
	uint64_t places;
	bool tell;
	int64_t told_us;
	struct gw_salvaged salvaged;
};

static void
add_name(struct report *report, const char *name)
{
	if (report->count < GW_SALVAGE_OUTLETS)
		report->names[report->count++] = name;
}

static void
name_outlets(struct report *report, const struct gw_config *config)
{
	const struct gw_config_destination *destinations = config->hl7_destinations.at;

	if (config->bus_enabled)
		add_name(report, "bus");
	if (config->series_enabled)
		add_name(report, "series");
	for (size_t i = 0; config->hl7_enabled && i < config->hl7_destinations.count; i++) {
		snprintf(report->destinations[i], sizeof(report->destinations[i]), "hl7/%s", destinations[i].name);
		add_name(report, report->destinations[i]);
	}
}

static void
place(void *arg, const char *words)
{
	struct report *report = arg;

	if (report->places++ < PLACES_NAMED)
		printf("damaged: %s\n", words);
}

static bool
progress(void *arg, const char *what, uint64_t done, uint64_t total)
{
	struct report *report = arg;
	int64_t now = gw_clock_mono_us();

	if (report->tell && now - report->told_us >= PROGRESS_US) {
		report->told_us = now;
		fprintf(stderr, "%s: %" PRIu64 " of about %" PRIu64 " pages\n", what, done, total);
	}
	return true;
}

static void
say_gap(const struct gw_salvage_gap *gap)
{
	char after[40] = "the beginning", before[40] = "the end";

	if (gap->after_us != 0)
		gw_time_format(gap->after_us, after);
	if (gap->before_us != 0)
		gw_time_format(gap->before_us, before);
	if (gap->open)
		printf("missing: what came after position %" PRIu64 ", if anything did, received between %s and %s\n", gap->first - 1, after, before);
	else
		printf("missing: positions %" PRIu64 " to %" PRIu64 ", received between %s and %s\n", gap->first, gap->last, after, before);
}

static void
say_identity(const struct gw_salvaged *salvaged)
{
	if (salvaged->incarnation == salvaged->before)
		puts("No record and no row is missing: identifiers go on as they were.");
	else
		printf("incarnation %016" PRIx64 " (before: %016" PRIx64 "): identifiers are new ones from now on, also of what is sent again\n", salvaged->incarnation,
		    salvaged->before);
}

static void
say_salvaged(const char *dir, const struct report *report)
{
	const struct gw_salvaged *salvaged = &report->salvaged;

	if (report->places > PLACES_NAMED)
		printf("and %" PRIu64 " more places\n", report->places - PLACES_NAMED);
	for (size_t i = 0; i < salvaged->gap_count; i++)
		say_gap(&salvaged->gaps[i]);
	printf("%s: a new journal of %" PRIu64 " records (positions %" PRIu64 " to %" PRIu64 "), %" PRIu64 " rows, %" PRIu64 " frames in quarantine\n", dir,
	    salvaged->records, salvaged->first, salvaged->last, salvaged->rows, salvaged->quarantined);
	if (salvaged->strays > 0)
		printf("%" PRIu64 " of the records lay where nothing led to them any more; %" PRIu64 " have new positions\n", salvaged->strays, salvaged->moved);
	printf("%" PRIu64 " positions missing, %" PRIu64 " damaged rows left out\n", salvaged->missing, salvaged->rows_damaged);
	if (salvaged->head_lost)
		puts("The oldest records may be missing as well: how many there were is not known.");
	if (salvaged->tail_lost)
		puts("The newest records may be missing as well: how many there were is not known.");
	say_identity(salvaged);
	for (size_t i = 0; i < salvaged->outlet_count; i++)
		printf("outlet %s: where it was is not known, it takes all records again\n", salvaged->outlets[i]);
	if (salvaged->rows_lost || salvaged->rows_damaged > 0)
		puts("Rows are missing: see that `vitalgate device list` is whole, and tell again who lies where (`vitalgate census import`) before readings are filed.");
	printf("the damaged journal is in %s/%s\n", dir, salvaged->aside);
}

int
gw_cli_salvage(struct gw_cli *cli)
{
	struct report *report = calloc(1, sizeof(*report));
	struct gw_config *config = report != NULL ? gw_cli_config(cli) : NULL;
	struct gw_why why = { "" };
	char who[40];
	enum gw_error error;

	if (config == NULL) {
		free(report);
		return GW_EXIT_START;
	}
	umask(077);
	gw_diag_open(false, GW_WARNING);
	report->tell = gw_cli_given(cli, "progress");
	name_outlets(report, config);
	snprintf(who, sizeof(who), "uid %u", (unsigned)geteuid());
	struct gw_salvage_options options = { .place = place, .progress = progress, .arg = report, .outlets = report->names, .outlet_count = report->count };
	error = sodium_init() < 0 ? GW_E_SYSTEM : gw_salvage(config->store_dir, who, &options, &report->salvaged, &why);
	if (error == GW_OK)
		say_salvaged(config->store_dir, report);
	else
		fprintf(stderr, "vitalgate salvage: %s\n", why.text[0] != '\0' ? why.text : gw_error_text(error));
	gw_config_free(config);
	free(report);
	return error == GW_OK ? 0 : GW_EXIT_START;
}

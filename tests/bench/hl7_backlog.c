// SPDX-License-Identifier: Apache-2.0
// Makes a store in which devices have sent for a while and nothing has been delivered yet: one frame a minute with six vital signs from each, the last of them just now.
// The clocks of devices are right. Each device has a bed (ICU^^1, ICU^^2...); each destination named stands before the first record. It tells its records in JSON.
//   bench_hl7_backlog STORE DEVICES MINUTES DESTINATION...
#include "gateway/clock.h"
#include "gateway/intake.h"
#include "gateway/journal.h"
#include "gateway/nomenclature.h"
#include "gateway/registry_row.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define SIGNALS 6
#define MINUTE_US INT64_C(60000000)
#define LATENCY_US 80000
#define UNDER_WAY 256

static const struct { uint32_t signal; int64_t mantissa; int16_t exponent; } signals[SIGNALS] = {
	{ 150456, 970, -1 }, { 149530, 72, 0 }, { 150037, 118, 0 }, { 150038, 76, 0 }, { 150039, 90, 0 }, { 151562, 16, 0 },
};

static struct gw_journal *journal;
static struct gw_intake *intake;
static struct gw_source source;
static unsigned under_way;

static void
check(enum gw_error error, const char *what)
{
	if (error == GW_OK)
		return;
	fprintf(stderr, "bench_hl7_backlog: %s: %s\n", what, gw_error_text(error));
	exit(1);
}

static void
open_store(const char *dir)
{
	const struct gw_journal_options options = {
		.dir = dir, .budget_bytes = UINT64_C(16384) << 20, .reserve_bytes = UINT64_C(64) << 20, .retention_us = INT64_C(720) * 60 * MINUTE_US,
		.retention_full_us = INT64_C(720) * 60 * MINUTE_US, .quarantine_bytes = 16u << 20, .quarantine_share_percent = 10, .series_max = 1000000,
	};
	struct gw_intake_options intake_options = { 0 };
	struct gw_why why = { "" };

	if (gw_nomenclature_open(&why) != GW_OK || gw_journal_open(&options, &journal, &why) != GW_OK) {
		fprintf(stderr, "bench_hl7_backlog: %s\n", why.text);
		exit(1);
	}
	intake_options.journal = journal;
	check(gw_intake_open(&intake_options, &intake, &why), "intake");
	check(gw_source_init(&source, intake, UNDER_WAY), "source");
}

static void
take_back(bool all)
{
	struct pollfd wait = { .fd = source.event_fd, .events = POLLIN };

	do {
		poll(&wait, 1, 1000);
		for (struct gw_ticket *ticket = gw_source_take(&source), *next; ticket != NULL; ticket = next) {
			next = ticket->next;
			check(ticket->result, "commit");
			under_way--;
			gw_ticket_release(ticket);
		}
	} while (all && under_way > 0);
}

static void
submit(struct gw_ticket *ticket)
{
	under_way++;
	gw_intake_submit(ticket);
}

static struct gw_ticket *
ticket_get(void)
{
	struct gw_ticket *ticket;

	while ((ticket = gw_ticket_get(&source)) == NULL)
		take_back(false);
	return ticket;
}

static void
add_device(struct gw_ticket *ticket, unsigned number, int64_t since_us)
{
	struct gw_device device = { .eui64 = UINT64_C(0x0123456789000000) + number, .created_us = since_us, .changed_us = since_us };
	char key[GW_ID_MAX + 16];
	struct gw_why why = { "" };
	char *row;
	size_t len;

	snprintf(device.id, sizeof(device.id), "mon-%u", number);
	snprintf(device.profile, sizeof(device.profile), "bedside-json");
	snprintf(device.bed, sizeof(device.bed), "ICU^^%u", number);
	snprintf(device.ward, sizeof(device.ward), "icu");
	snprintf(device.subject, sizeof(device.subject), "mon-%u", number);
	check(gw_device_complete(&device, &why), why.text);
	if ((row = gw_device_row_write(&device, &len)) == NULL)
		check(GW_E_MEMORY, "devices");
	snprintf(key, sizeof(key), GW_DEVICE_ROW_PREFIX "%s", device.id);
	check(gw_ticket_put(ticket, gw_span_text(key), gw_span(row, len)), "devices");
	free(row);
}

static void
add_devices(unsigned count, int64_t since_us)
{
	struct gw_ticket *ticket = ticket_get();

	for (unsigned i = 1; i <= count; i++)
		add_device(ticket, i, since_us);
	submit(ticket);
}

// One minute of all devices, in one ticket: they follow each other in the journal as they came.
static void
add_minute(unsigned devices, unsigned minute, int64_t minute_us)
{
	struct gw_ticket *ticket = ticket_get();
	struct gw_reading readings[SIGNALS];
	char id[24], route[40];

	for (unsigned i = 0; i < devices; i++) {
		int64_t us = minute_us + i * (MINUTE_US / devices);
		struct gw_batch_head head = { .received_us = us + LATENCY_US, .door = GW_DOOR_MQTT, .auth = GW_AUTH_CERTIFICATE,
			.profile = gw_span_text("bedside-json") };

		snprintf(id, sizeof(id), "mon-%u", i + 1);
		snprintf(route, sizeof(route), "ward/icu/%s/vitals", id);
		head.device = head.principal = gw_span_text(id);
		head.route = gw_span_text(route);
		for (size_t k = 0; k < SIGNALS; k++)
			readings[k] = (struct gw_reading){ .signal = signals[k].signal, .time_us = us, .type = GW_VALUE_DECIMAL,
				.decimal = { signals[k].mantissa + (minute + i) % 10, signals[k].exponent }, .unit = gw_signal_by_code(signals[k].signal)->unit->code };
		check(gw_ticket_readings(ticket, &head, readings, SIGNALS), "readings");
	}
	submit(ticket);
}

static void
add_destination(const char *name)
{
	static const uint64_t none;
	struct gw_ticket *ticket = ticket_get();
	char key[128];

	snprintf(key, sizeof(key), "outlet/hl7/%s/cursor", name);
	check(gw_ticket_put(ticket, gw_span_text(key), gw_span(&none, sizeof(none))), "cursor");
	submit(ticket);
}

int
main(int argc, char **argv)
{
	unsigned devices, minutes;
	int64_t first_us;

	if (argc < 5 || (devices = (unsigned)strtoul(argv[2], NULL, 10)) == 0 || devices > 1000 || (minutes = (unsigned)strtoul(argv[3], NULL, 10)) == 0) {
		fprintf(stderr, "usage: bench_hl7_backlog STORE DEVICES MINUTES DESTINATION...\n");
		return 2;
	}
	open_store(argv[1]);
	for (int i = 4; i < argc; i++)
		add_destination(argv[i]);
	first_us = gw_clock_wall_us() - (int64_t)minutes * MINUTE_US - MINUTE_US;
	first_us -= first_us % MINUTE_US;
	add_devices(devices, first_us - MINUTE_US);
	for (unsigned minute = 0; minute < minutes; minute++)
		add_minute(devices, minute, first_us + (int64_t)minute * MINUTE_US);
	take_back(true);
	printf("{\"records\": %llu, \"devices\": %u, \"minutes\": %u}\n", (unsigned long long)devices * minutes, devices, minutes);
	gw_intake_close(intake);
	gw_source_fini(&source);
	gw_journal_close(journal);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
// CPU per HL7 message of readings, without network and store: a monitor's frames, one a second with twelve signals, through grouping and encoding.
// Prints microseconds per frame grouped and per message encoded, and the message's size; for the last values of a minute, and for every reading.
// Usage: oru_bench [frames]
#include "adapters/hl7/oru.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define T0 INT64_C(1795162500000000)
#define SIGNALS 12

static const uint32_t signals[SIGNALS] = { 147842, 150456, 149530, 150488, 150037, 150038, 150039, 151562, 150364, 151708, 150021, 150022 };
static const struct gw_device device = { .id = "mon-1", .ward = "3a", .bed = "7", .eui64 = 0x0123456789ABCDEF };
static const struct gw_patient patient = { .number = 7, .identifiers = { { "12345", "KIS", "PI" } }, .identifier_count = 1, .family = "Meyer", .given = "Anna",
	.birth = "19480203", .sex = "F" };
static const struct gw_owner somebody = { .whose = GW_WHOSE_PATIENT, .patient = 7, .from_us = INT64_MIN, .to_us = GW_TIME_OPEN, .bed = "ICU^^3", .visit = "V-4711" };

struct bench {
	struct gw_hl7_settings settings;
	struct gw_hl7_oru oru;
	struct gw_hl7_out out;
	uint64_t messages, bytes;
	int64_t encode_ns, group_ns;
};

static int64_t
cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void
check(enum gw_error error)
{
	if (error == GW_OK)
		return;
	fprintf(stderr, "oru_bench: %s\n", gw_error_text(error));
	exit(1);
}

static void
closed(void *arg, const struct gw_hl7_group *group)
{
	struct bench *bench = arg;
	struct gw_hl7_ids ids;
	int64_t before_ns = cpu_ns();

	bench->oru.group = group;
	check(gw_hl7_oru_encode(&bench->oru, &bench->out, &ids));
	bench->encode_ns += cpu_ns() - before_ns;
	bench->messages++;
	bench->bytes += bench->out.len;
}

static void
owner_of(void *arg, struct gw_span id, int64_t effective_us, int64_t uncertainty_us, struct gw_owner *owner)
{
	(void)arg, (void)id, (void)effective_us, (void)uncertainty_us;
	*owner = somebody;
}

static void
frame(struct bench *bench, struct gw_hl7_grouper *grouper, uint64_t n)
{
	static uint8_t bytes[65536];
	struct gw_reading readings[SIGNALS];
	struct gw_key keys[SIGNALS];
	const int64_t us = T0 + (int64_t)n * 1000000;
	const struct gw_batch_head head = { .received_us = us + 100000, .door = GW_DOOR_MQTT, .device = gw_span_text(device.id), .route = gw_span_text("r") };
	struct gw_record record;
	int64_t before_ns;
	size_t len;

	for (size_t i = 0; i < SIGNALS; i++)
		readings[i] = (struct gw_reading){ .signal = signals[i], .time_us = us, .type = GW_VALUE_DECIMAL,
			.decimal = { (int64_t)(700 + 10 * i + n % 10), -1 }, .unit = gw_signal_by_code(signals[i])->unit->code };
	check(gw_record_readings(&head, readings, SIGNALS, bytes, sizeof(bytes), &len, keys));
	check(gw_record_open(n, gw_span(bytes, len), &record, NULL));
	before_ns = cpu_ns();
	gw_hl7_grouper_tick(grouper, record.received_us);
	check(gw_hl7_grouper_take(grouper, &record, NULL));
	bench->group_ns += cpu_ns() - before_ns;
}

static void
run(enum gw_hl7_select select, uint64_t frames)
{
	struct bench bench = { .settings = { .name = "pdms", .production = true, .processing_id = "P", .version = "2.6", .accept_ack = "AL", .application_ack = "NE",
		.sending_application = "Vitalgate", .sending_facility = "", .receiving_application = "PDMS", .receiving_facility = "", .eui64 = 1,
		.interval_us = 60000000, .decimals = -1, .select = select, .charset = gw_hl7_charset_utf8() } };
	struct gw_hl7_grouper *grouper = gw_hl7_grouper_new(&(struct gw_hl7_grouper_options){ .settings = &bench.settings, .closed = closed, .owner = owner_of,
	    .arg = &bench });

	if (grouper == NULL)
		check(GW_E_MEMORY);
	bench.oru = (struct gw_hl7_oru){ .settings = &bench.settings, .incarnation = 1, .device = &device, .mds = 69965, .patient = &patient, .owner = &somebody,
		.now_us = T0 };
	for (uint64_t n = 1; n <= frames; n++)
		frame(&bench, grouper, n);
	gw_hl7_grouper_free(grouper);
	gw_hl7_out_fini(&bench.out);
	printf("%s: %llu messages of %llu bytes; %.2f us to group a frame of %d readings, %.2f us to encode a message\n",
	    select == GW_HL7_EVERY ? "every reading" : "last of a minute", (unsigned long long)bench.messages, (unsigned long long)(bench.bytes / bench.messages),
	    (double)(bench.group_ns - bench.encode_ns) / (double)frames / 1e3, SIGNALS, (double)bench.encode_ns / (double)bench.messages / 1e3);
}

int
main(int argc, char **argv)
{
	uint64_t frames = argc > 1 ? strtoull(argv[1], NULL, 10) : 60000;

	if (frames < 120) {
		fprintf(stderr, "usage: oru_bench [frames, 120 or more]\n");
		return 2;
	}
	check(gw_nomenclature_open(NULL));
	run(GW_HL7_LAST, frames);
	run(GW_HL7_EVERY, frames);
	return 0;
}

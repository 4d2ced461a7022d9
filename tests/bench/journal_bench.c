// SPDX-License-Identifier: Apache-2.0
// How fast the journal is by itself: records of one reading each, by size of the group. Prints records per second and the writer
// thread's CPU per record, with the part before the commit
// apart; then the same through intake, by how many tickets a source keeps under way.
// Usage: journal_bench DIR [records in all for each size]
#include "gateway/clock.h"
#include "gateway/intake.h"
#include "gateway/journal.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define DEVICES 200

static int64_t
cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void
check(enum gw_error error, const char *what)
{
	if (error == GW_OK)
		return;
	fprintf(stderr, "%s: %s\n", what, gw_error_text(error));
	exit(1);
}

static void
fill(struct gw_ticket *ticket, uint64_t n)
{
	char device[32], route[64];
	struct gw_reading reading = {
		.signal = 150456, .time_us = INT64_C(1700000000000000) + (int64_t)(n / DEVICES) * 1000000 + (int64_t)(n % DEVICES) * 3001,
		.type = GW_VALUE_DECIMAL, .unit = 262688, .decimal = { 970 + (int64_t)(n % 30), -1 }, .unit_received = gw_span_text("%"),
	};
	struct gw_batch_head head = { .received_us = reading.time_us + 20000, .door = GW_DOOR_MQTT, .auth = GW_AUTH_CERTIFICATE,
		.profile = gw_span_text("generic-json") };

	snprintf(device, sizeof(device), "monitor-%04llu", (unsigned long long)(n % DEVICES));
	snprintf(route, sizeof(route), "ward/%s/vitals", device);
	head.device = head.principal = gw_span_text(device);
	head.route = gw_span_text(route);
	ticket->ops_len = 0;
	check(gw_ticket_readings(ticket, &head, &reading, 1), "ticket");
}

static void
measure(struct gw_journal *journal, struct gw_ticket **tickets, uint32_t group, uint64_t total, uint64_t *n)
{
	int64_t apply_ns = 0, commit_ns = 0, wall_us = 0, commit_us = 0;

	for (uint64_t done = 0; done < total; done += group) {
		for (uint32_t i = 0; i < group; i++)
			fill(tickets[i], (*n)++);
		int64_t wall = gw_clock_mono_us(), cpu = cpu_ns();
		check(gw_journal_begin(journal), "begin");
		for (uint32_t i = 0; i < group; i++)
			check(gw_journal_apply(journal, tickets[i]), "apply");
		int64_t applied = cpu_ns(), committing = gw_clock_mono_us();
		check(gw_journal_commit(journal), "commit");
		commit_ns += cpu_ns() - applied;
		apply_ns += applied - cpu;
		commit_us += gw_clock_mono_us() - committing;
		wall_us += gw_clock_mono_us() - wall;
	}
	uint64_t commits = (total + group - 1) / group, records = commits * group;
	printf("%8u %12.0f %14.0f %14.0f %14.0f %12.0f\n", group, (double)records * 1e6 / (double)wall_us,
	    (double)(apply_ns + commit_ns) / (double)records, (double)apply_ns / (double)records,
	    (double)commit_ns / (double)records, (double)commit_us / (double)commits);
	fflush(stdout);
}

// ---- Through intake: one source that keeps so many tickets under way ----

static void
through_intake(struct gw_journal *journal, uint32_t window, uint64_t total, uint64_t *n)
{
	struct gw_intake_options options = { .journal = journal };
	struct gw_intake_stats stats;
	struct gw_source source;
	struct gw_intake *intake;
	uint64_t sent = 0, back = 0;
	int64_t wall, cpu, own;
	struct timespec all[2];

	check(gw_intake_open(&options, &intake, NULL), "intake");
	check(gw_source_init(&source, intake, window), "source");
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &all[0]);
	wall = gw_clock_mono_us();
	own = cpu_ns();
	while (back < total) {
		struct pollfd wait = { .fd = source.event_fd, .events = POLLIN };
		while (sent < total && sent - back < window) {
			struct gw_ticket *ticket = gw_ticket_get(&source);
			fill(ticket, (*n)++);
			gw_intake_submit(ticket);
			sent++;
		}
		poll(&wait, 1, -1);
		for (struct gw_ticket *ticket = gw_source_take(&source), *next; ticket != NULL; ticket = next, back++) {
			next = ticket->next;
			check(ticket->result, "commit");
			gw_ticket_release(ticket);
		}
	}
	wall = gw_clock_mono_us() - wall;
	own = cpu_ns() - own;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &all[1]);
	cpu = (all[1].tv_sec - all[0].tv_sec) * INT64_C(1000000000) + all[1].tv_nsec - all[0].tv_nsec - own;
	gw_intake_stats(intake, &stats);
	printf("%8u %12.0f %14.0f %14.0f %14.1f\n", window, (double)total * 1e6 / (double)wall, (double)cpu / (double)total,
	    (double)own / (double)total, (double)total / (double)stats.groups);
	fflush(stdout);
	gw_source_fini(&source);
	gw_intake_close(intake);
}

int
main(int argc, char **argv)
{
	static const uint32_t groups[] = { 1, 10, 100, 1000, 4000, 10000 };
	struct gw_journal_options options = {
		.dir = argc > 1 ? argv[1] : "journal_bench.state", .budget_bytes = UINT64_C(16) << 30, .reserve_bytes = 64u << 20,
		.retention_us = INT64_MAX / 2, .retention_full_us = INT64_MAX / 2, .quarantine_bytes = 1u << 20,
		.quarantine_share_percent = 50, .series_max = 1000000,
	};
	uint64_t total = argc > 2 ? strtoull(argv[2], NULL, 10) : 400000, n = 0;
	struct gw_source source = { .tickets_max = 10000 };
	static struct gw_ticket *tickets[10000];
	struct gw_journal *journal;
	struct gw_why why;

	if (gw_journal_open(&options, &journal, &why) != GW_OK) {
		fprintf(stderr, "%s\n", why.text);
		return 1;
	}
	for (size_t i = 0; i < 10000; i++)
		tickets[i] = gw_ticket_get(&source);
	n = gw_journal_last(journal);
	printf("%8s %12s %14s %14s %14s %12s\n", "group", "records/s", "ns CPU/record", "ns applying", "ns committing", "us/commit");
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		measure(journal, tickets, groups[i], groups[i] < 100 ? total / 100 * groups[i] / 2 + groups[i] : total, &n);
	printf("\n%8s %12s %14s %14s %14s\n", "window", "records/s", "ns writer", "ns source", "records/commit");
	for (size_t i = 0; i < 5; i++)
		through_intake(journal, groups[i], groups[i] < 100 ? total / 100 * groups[i] / 2 + groups[i] : total, &n);
	gw_journal_close(journal);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
// The generator's result: one line of JSON on standard output. Rates and CPU are of the measured window, counts of failures of the
// whole run.
#include <stdio.h>

#include "load.h"

static void
report_server(const struct load *l, double per_100k)
{
	double connect_s = l->at_ready.cpu_s - l->at_start.cpu_s;
	double ready = l->ready + l->total.disconnects ? (double)(l->ready + l->total.disconnects) : 1;

	printf(",\"server\":{\"cpu_s\":%.3f,\"system_s\":%.3f,\"cpu_s_per_100k\":%.4f,\"handshake_cpu_ms\":%.4f",
	       l->at_to.cpu_s - l->at_from.cpu_s, l->at_to.system_s - l->at_from.system_s,
	       (l->at_to.cpu_s - l->at_from.cpu_s) * per_100k,
	       connect_s * 1000 / ready);
	printf(",\"rss_start_kb\":%llu,\"rss_idle_kb\":%llu,\"rss_end_kb\":%llu",
	       (unsigned long long)l->at_start.rss_kb, (unsigned long long)l->at_idle.rss_kb,
	       (unsigned long long)l->at_to.rss_kb);
	printf(",\"kb_per_connection\":%.2f}",
	       ((double)l->at_idle.anonymous_kb - (double)l->at_start.anonymous_kb) / ready);
}

void
load_report(const struct load *l)
{
	double seconds = (double)(l->to_ns - l->from_ns) / 1e9;
	uint64_t acked = l->to_counts.acked - l->from.acked;
	double connect_s = (double)l->connect_ns / 1e9;
	unsigned up = l->ready + (unsigned)l->total.disconnects;

	printf("{\"protocol\":\"%s\",\"connections\":%u,\"window\":%u,\"active\":%u,\"payload_bytes\":%zu",
	       l->protocol->name, l->o.connections, l->o.window, l->o.active, l->conn[0].frame.size);
	printf(",\"connected\":%u,\"connect_failures\":%u,\"connect_s\":%.3f,\"handshakes_per_s\":%.0f",
	       up, l->failed, connect_s, connect_s > 0 ? up / connect_s : 0);
	printf(",\"window_s\":%.3f,\"sent\":%llu,\"acked\":%llu,\"acked_per_s\":%.0f", seconds,
	       (unsigned long long)(l->to_counts.sent - l->from.sent), (unsigned long long)acked,
	       seconds > 0 ? (double)acked / seconds : 0);
	printf(",\"latency_ms\":{\"p50\":%.4f,\"p90\":%.4f,\"p99\":%.4f,\"p999\":%.4f,\"max\":%.4f}",
	       load_latency_ms(&l->latency, 0.5), load_latency_ms(&l->latency, 0.9),
	       load_latency_ms(&l->latency, 0.99), load_latency_ms(&l->latency, 0.999),
	       (double)l->latency.max_ns / 1e6);
	printf(",\"refused\":%llu,\"lost\":%llu,\"disconnects\":%llu,\"retransmissions\":%llu,\"separate\":%llu",
	       (unsigned long long)l->total.refused, (unsigned long long)l->total.lost,
	       (unsigned long long)l->total.disconnects,
	       (unsigned long long)l->total.retransmissions, (unsigned long long)l->total.separate);
	printf(",\"total_acked\":%llu,\"generator_cpu_s\":%.3f,\"first_error\":\"%s\"",
	       (unsigned long long)l->total.acked, l->own_to_s - l->own_from_s, l->first_error);
	if (l->o.server_pid > 0)
		report_server(l, acked ? 100000.0 / (double)acked : 0);
	puts("}");
	fflush(stdout);
}

// SPDX-License-Identifier: Apache-2.0
// What a hospital's system may send: MLLP framing in pieces, then the whole way of each message: reading, meaning, the model of patients, tickets, answer.
// First byte: size of the pieces; second: which peer (bit 0), what the commit says (bits 1-2).
#include "adapters/hl7/ack.h"
#include "adapters/hl7/in_take.h"
#include "adapters/hl7/mllp.h"
#include "gateway/daemon.h"

#undef NDEBUG // the assertions are the test
#include <assert.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[512];
static struct gw_core core;
static struct gw_config *config;
static struct gw_hl7_seen *seen;
static struct gw_hl7_in_settings settings;
static struct gw_hl7_take *take;
static struct gw_source source;
static struct gw_hl7_request request;

static int
remove_one(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
	(void)stat, (void)type, (void)ftw;
	return remove(path);
}

static void
close_all(void)
{
	gw_hl7_request_fini(&request);
	gw_source_fini(&source);
	gw_hl7_take_free(take);
	gw_hl7_seen_close(seen);
	gw_hl7_in_settings_fini(&settings);
	gw_core_close(&core);
	gw_config_free(config);
	nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void
open_all(void)
{
	static const char yaml[] = "store: {dir: data, budget_mb: 64, reserve_mb: 8, disk_reserve_mb: 0}\nhl7_in:\n  enabled: true\n  fields: {services: MON}\n"
	    "  peers:\n    - {name: a, zone: UTC, addresses: [10.0.0.1]}\n    - {name: b, addresses: [10.0.0.2], orr: true, charset: 8859/1, zone: Europe/Berlin}\n";
	const char *tmp = getenv("TMPDIR");
	struct gw_hl7_take_options options;
	struct gw_device device = { .id = "m1", .profile = "bedside-json", .subject = "m1" };
	char path[600];
	FILE *file;

	snprintf(dir, sizeof(dir), "%s/fuzz-hl7-XXXXXX", tmp != NULL ? tmp : P_tmpdir);
	assert(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/vitalgate.yaml", dir);
	file = fopen(path, "w");
	assert(file != NULL && fputs(yaml, file) >= 0 && fclose(file) == 0);
	assert(gw_config_load(path, &config, NULL) == GW_OK && gw_core_open(config, NULL, NULL, &core, NULL) == GW_OK);
	assert(gw_registry_add(core.registry, &device, NULL) == GW_OK);
	assert(gw_hl7_in_settings_make(config, &settings, NULL) == GW_OK);
	assert(gw_hl7_seen_open(core.journal, 1000, INT64_C(3600000000), &seen, NULL) == GW_OK);
	options = (struct gw_hl7_take_options){ .registry = core.registry, .patients = core.patients, .seen = seen, .settings = &settings };
	take = gw_hl7_take_new(&options);
	assert(take != NULL && gw_source_init(&source, core.intake, 2) == GW_OK);
	atexit(close_all);
}

// Whole frames, in which nothing of the request's bytes can be taken for a frame's end, and which the other side can read.
static void
check_answer(struct gw_span answer)
{
	uint8_t buf[1 << 16];
	struct gw_hl7_mllp mllp;
	struct gw_span message;
	struct gw_hl7_ack ack;

	gw_hl7_mllp_init(&mllp, buf, sizeof(buf));
	while (answer.len > 0) {
		enum gw_hl7_mllp_result result = gw_hl7_mllp_feed(&mllp, &answer, &message);

		if (result == GW_HL7_MLLP_MORE)
			break;
		if (result == GW_HL7_MLLP_TOO_LARGE)
			return;
		assert(message.len > 8 && memcmp(message.at, "MSH|^~\\&|", 9) == 0);
		gw_hl7_ack_parse(message, &ack);
		assert(ack.code[0] != '\0');
	}
	assert(mllp.skipped == 0 && !mllp.inside);
}

static void
take_one(const struct gw_hl7_peer *peer, struct gw_span message, bool head, enum gw_error result)
{
	struct gw_ticket *ticket = gw_ticket_get(&source), *after = gw_ticket_get(&source);
	bool reload;

	gw_hl7_request_reset(&request);
	if (head)
		gw_hl7_take_read_head(take, peer, GW_AUTH_NONE, message, INT64_C(1795162500000000));
	else
		gw_hl7_take_read(take, peer, GW_AUTH_NONE, message, INT64_C(1795162500000000));
	assert(gw_hl7_take_meaning(take)->count <= GW_HL7_EVENTS_MAX);
	gw_patients_lock(core.patients);
	(void)gw_hl7_take_apply(take, &request, ticket, after);
	gw_patients_unlock(core.patients);
	if (gw_hl7_take_done(take, &request, result, &reload))
		check_answer(gw_span(request.answer.at, request.answer.len));
	gw_ticket_release(ticket);
	gw_ticket_release(after);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum gw_error results[] = { GW_OK, GW_OK, GW_E_FULL, GW_E_QUOTA };
	uint8_t buf[8192];
	struct gw_hl7_mllp mllp;
	const struct gw_hl7_peer *peer;
	enum gw_error result;
	size_t piece;

	if (take == NULL)
		open_all();
	if (size < 2)
		return 0;
	piece = data[0] > 0 ? data[0] : 1;
	peer = &settings.peers[data[1] & 1];
	result = results[data[1] >> 1 & 3];
	gw_hl7_mllp_init(&mllp, buf, sizeof(buf));
	for (size_t at = 2; at < size; at += piece) {
		struct gw_span in = gw_span(data + at, size - at < piece ? size - at : piece), message;
		enum gw_hl7_mllp_result step;

		while ((step = gw_hl7_mllp_feed(&mllp, &in, &message)) != GW_HL7_MLLP_MORE)
			take_one(peer, step == GW_HL7_MLLP_FRAME ? message : in, step != GW_HL7_MLLP_FRAME, result);
	}
	return 0;
}

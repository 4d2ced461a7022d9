// SPDX-License-Identifier: Apache-2.0
// The registry on a real journal: credentials belong to one device, changes last, who may speak for whom, ten thousand devices.
#include "gateway/clock.h"
#include "gateway/journal.h"
#include "gateway/registry.h"
#include "gateway/registry_row.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <yyjson.h>

#include <cmocka.h>

struct store {
	char dir[40];
	struct gw_journal *journal;
	struct gw_intake *intake;
	struct gw_registry *registry;
};

static void
must(enum gw_error error, const struct gw_why *why)
{
	if (error != GW_OK)
		fail_msg("%s: %s", gw_error_name(error), why->text);
}

static void
open_store(struct store *store)
{
	struct gw_journal_options options = {
		.dir = store->dir, .budget_bytes = 64u << 20, .reserve_bytes = 8u << 20, .retention_us = INT64_C(3600000000),
		.quarantine_bytes = 1u << 20, .quarantine_share_percent = 100, .series_max = 1000,
	};
	struct gw_intake_options intake = { .group_bytes_max = 4u << 20, .group_tickets_max = 64 };
	struct gw_why why = { "" };

	must(gw_journal_open(&options, &store->journal, &why), &why);
	intake.journal = store->journal;
	must(gw_intake_open(&intake, &store->intake, &why), &why);
	must(gw_registry_open(store->journal, store->intake, &store->registry, &why), &why);
}

static void
close_store(struct store *store)
{
	gw_registry_close(store->registry);
	gw_intake_stop(store->intake);
	gw_intake_close(store->intake);
	gw_journal_close(store->journal);
}

static int
set_up(void **state)
{
	struct store *store = calloc(1, sizeof(*store));

	strcpy(store->dir, "/tmp/vitalgate-registry-XXXXXX");
	if (mkdtemp(store->dir) == NULL)
		return -1;
	open_store(store);
	*state = store;
	return 0;
}

static int
tear_down(void **state)
{
	struct store *store = *state;
	char path[80];

	close_store(store);
	snprintf(path, sizeof(path), "rm -rf %s", store->dir);
	if (system(path) != 0)
		return -1;
	free(store);
	return 0;
}

// "id=a profile=b ..." to a device.
static struct gw_device
device_of(const char *text)
{
	struct gw_device device = { 0 };
	struct gw_why why = { "" };
	char copy[512], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *pair = strtok_r(copy, " ", &save); pair != NULL; pair = strtok_r(NULL, " ", &save)) {
		char *equals = strchr(pair, '=');

		*equals = '\0';
		must(gw_device_set(&device, pair, gw_span_text(equals + 1), &why), &why);
	}
	return device;
}

static enum gw_error
add(struct store *store, const char *text, struct gw_why *why)
{
	struct gw_device device = device_of(text);
	enum gw_error error = gw_registry_add(store->registry, &device, why);

	gw_device_fini(&device);
	return error;
}

static void
test_ids(void **state)
{
	static const char *const good[] = { "a", "mon-1", "\xC3\xA4rztin", "x.y:z", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };
	static const char *const bad[] = { "", "a b", "a/b", "a+", "#", "a\tb", "a\x7f", "\xC3", "\xC0\x80", "\xED\xA0\x80", "a\xC2\xA0" "b",
		"a\xE2\x80\x8B" "b", "a,b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };
	struct gw_why why;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_int_equal(gw_device_id_check(gw_span_text(good[i]), &why), GW_OK);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(gw_device_id_check(gw_span_text(bad[i]), &why), GW_E_ARGUMENT);
	assert_int_equal(gw_device_id_check(gw_span("a\0b", 3), &why), GW_E_ARGUMENT);
}

static void
test_fields_that_are_wrong(void **state)
{
	static const char *const bad[][2] = {
		{ "eui64", "12" }, { "eui64", "00112233445566778899" }, { "mac", "00:11:22:33:44" }, { "mac", "xx:11:22:33:44:55" }, { "psk", "0011" },
		{ "psk", "zz112233445566778899" }, { "psk", "000000000000000000000000000000000000000000000000000000000000000000" }, { "test", "maybe" },
		{ "bed", "a\nb" }, { "speaks_for", "a,,b" }, { "speaks_for", "a,b/c" },
	};
	struct gw_device device = { 0 };
	struct gw_why why;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(gw_device_set(&device, bad[i][0], gw_span_text(bad[i][1]), &why), GW_E_ARGUMENT);
	assert_int_equal(gw_device_set(&device, "colour", gw_span_text("red"), &why), GW_E_NOT_FOUND);
	gw_device_fini(&device);
}

static void
test_credentials_belong_to_one_device(void **state)
{
	struct store *store = *state;
	const struct gw_snapshot *snapshot;
	struct gw_why why = { "" };

	must(add(store, "id=a profile=p psk=00112233445566778899aabbccddeeff cert_subject=ca user=ua password_hash=x", &why), &why);
	assert_int_equal(add(store, "id=a profile=p", &why), GW_E_EXISTS);
	assert_int_equal(add(store, "id=b psk=0011223344556677 psk_identity=a", &why), GW_E_EXISTS);
	assert_non_null(strstr(why.text, "PSK identity"));
	assert_int_equal(add(store, "id=b cert_subject=ca", &why), GW_E_EXISTS);
	assert_int_equal(add(store, "id=b user=ua password_hash=y", &why), GW_E_EXISTS);
	assert_int_equal(add(store, "id=b user=ub", &why), GW_E_ARGUMENT);
	assert_int_equal(add(store, "id=b psk_identity=ib", &why), GW_E_ARGUMENT);
	must(add(store, "id=b psk=ffeeddccbbaa99887766554433221100 cert_subject=cb", &why), &why);
	snapshot = gw_snapshot_get(store->registry);
	assert_string_equal(gw_snapshot_by_psk(snapshot, gw_span_text("a"))->id, "a");
	assert_string_equal(gw_snapshot_by_psk(snapshot, gw_span_text("b"))->id, "b");
	assert_string_equal(gw_snapshot_by_subject(snapshot, gw_span_text("cb"))->id, "b");
	assert_string_equal(gw_snapshot_by_user(snapshot, gw_span_text("ua"))->id, "a");
	assert_null(gw_snapshot_by_user(snapshot, gw_span_text("")));
	assert_null(gw_snapshot_by_subject(snapshot, gw_span_text("c")));
	assert_null(gw_snapshot_device(snapshot, gw_span_text("c")));
	assert_null(gw_snapshot_at(snapshot, 2));
	gw_snapshot_put(snapshot);
}

static void
test_who_may_speak(void **state)
{
	struct store *store = *state;
	const struct gw_device *hub, *a, *b;
	const struct gw_snapshot *snapshot;
	struct gw_why why = { "" };

	must(add(store, "id=hub speaks_for=a,c cert_subject=hub", &why), &why);
	must(add(store, "id=a profile=p", &why), &why);
	must(add(store, "id=b profile=p", &why), &why);
	must(gw_registry_set_disabled(store->registry, gw_span_text("b"), true, &why), &why);
	snapshot = gw_snapshot_get(store->registry);
	hub = gw_snapshot_device(snapshot, gw_span_text("hub"));
	a = gw_snapshot_device(snapshot, gw_span_text("a"));
	b = gw_snapshot_device(snapshot, gw_span_text("b"));
	assert_true(gw_snapshot_may_speak(hub, hub));
	assert_true(gw_snapshot_may_speak(hub, a));
	assert_false(gw_snapshot_may_speak(hub, b));
	assert_false(gw_snapshot_may_speak(a, hub));
	assert_false(gw_snapshot_may_speak(b, b));
	assert_false(gw_snapshot_may_speak(NULL, a));
	assert_false(gw_snapshot_may_speak(a, NULL));
	gw_snapshot_put(snapshot);
	assert_int_equal(add(store, "id=d speaks_for=d", &why), GW_E_ARGUMENT);
}

static void
test_changes_last(void **state)
{
	static const char *const fields[] = { "profile", "bed", "ward", "eui64", "mac", "manufacturer", "model", "serial", "asset", "psk_identity", "psk",
		"cert_subject", "user", "password_hash", "speaks_for", "test", "disabled" };
	struct gw_device device = device_of("id=a profile=p bed=4 ward=\xC3\x84 eui64=00-11-22-33-44-55-66-77 mac=0011.2233.4455 manufacturer=M model=N "
	    "serial=\"1\\ asset=7 psk=00112233445566778899aabbccddeeff cert_subject=x user=u password_hash=$h speaks_for=c,d test=true");
	struct store *store = *state;
	const struct gw_snapshot *before, *after;
	struct gw_why why = { "" };
	char text[2][256];

	must(gw_registry_add(store->registry, &device, &why), &why);
	gw_device_fini(&device);
	must(add(store, "id=b profile=p", &why), &why);
	must(gw_registry_set_disabled(store->registry, gw_span_text("a"), true, &why), &why);
	must(gw_registry_remove(store->registry, gw_span_text("b"), &why), &why);
	assert_int_equal(gw_registry_remove(store->registry, gw_span_text("b"), &why), GW_E_NOT_FOUND);
	before = gw_snapshot_get(store->registry);
	// A snapshot lives on after its registry, as one that a thread still holds.
	close_store(store);
	open_store(store);
	after = gw_snapshot_get(store->registry);
	assert_null(gw_snapshot_device(after, gw_span_text("b")));
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		gw_device_get(gw_snapshot_device(before, gw_span_text("a")), fields[i], text[0], sizeof(text[0]));
		gw_device_get(gw_snapshot_device(after, gw_span_text("a")), fields[i], text[1], sizeof(text[1]));
		assert_string_equal(text[0], text[1]);
		assert_int_not_equal(text[1][0], '\0');
	}
	assert_int_equal(gw_snapshot_device(before, gw_span_text("a"))->created_us, gw_snapshot_device(after, gw_span_text("a"))->created_us);
	gw_snapshot_put(before);
	gw_snapshot_put(after);
}

// A device with every field: its row has the members that schemas/device-row.schema.json describes, all of them and no others.
static void
test_rows_are_as_described(void **state)
{
	struct gw_device device = device_of("id=a profile=p bed=4 ward=3 eui64=0011223344556677 mac=001122334455 manufacturer=M model=N serial=1 asset=7 "
	    "psk=00112233445566778899aabbccddeeff psk_identity=i cert_subject=x user=u password_hash=$h speaks_for=c,d test=true disabled=true next_psk_identity=i.2 next_psk=ffeeddccbbaa99887766554433221100");
	yyjson_doc *schema = yyjson_read_file(VITALGATE_SOURCE "/schemas/device-row.schema.json", 0, NULL, NULL), *row;
	yyjson_val *described = yyjson_obj_get(yyjson_doc_get_root(schema), "properties"), *key, *value;
	size_t len, i, max;
	char *text;

	(void)state;
	device.psk_until_us = 1;
	device.psk_until_used = true;
	text = gw_device_row_write(&device, &len);
	row = yyjson_read(text, len, 0);
	assert_non_null(described);
	assert_int_equal(yyjson_obj_size(yyjson_doc_get_root(row)), yyjson_obj_size(described));
	yyjson_obj_foreach(yyjson_doc_get_root(row), i, max, key, value) {
		yyjson_val *property = yyjson_obj_get(described, yyjson_get_str(key)), *type = yyjson_obj_get(property, "type");

		assert_non_null(property);
		if (yyjson_obj_get(property, "enum") != NULL)
			assert_int_equal(yyjson_get_int(value), 2);
		else if (type != NULL)
			assert_string_equal(yyjson_get_str(type), yyjson_is_str(value) ? "string" : yyjson_is_arr(value) ? "array" : "integer");
		else
			assert_true(yyjson_equals(yyjson_obj_get(property, "const"), value));
	}
	yyjson_doc_free(schema);
	yyjson_doc_free(row);
	free(text);
	gw_device_fini(&device);
}

static const struct gw_device *
device_at(const struct gw_snapshot *snapshot, const char *id)
{
	const struct gw_device *device = gw_snapshot_device(snapshot, gw_span_text(id));

	assert_non_null(device);
	return device;
}

static enum gw_error
rotate(struct store *store, const char *id, struct gw_rotation *rotation, struct gw_why *why)
{
	struct gw_change change = { .kind = GW_CHANGE_ROTATE, .id = gw_span_text(id), .rotation = rotation };

	memset(rotation->psk, 'n', 16);
	rotation->psk_len = 16;
	return gw_registry_change(store->registry, &change, why);
}

// Both keys are good until the new one was used; then the old one is gone, also for those who proved it, and after a restart.
static void
test_rotation_until_used(void **state)
{
	struct store *store = *state;
	struct gw_rotation rotation = { .until_used = true };
	const struct gw_snapshot *snapshot;
	const struct gw_device *device;
	uint64_t old_proof, new_proof;
	struct gw_why why = { "" };
	int64_t next_us;

	must(add(store, "id=a profile=p psk=00112233445566778899aabbccddeeff", &why), &why);
	must(add(store, "id=a.2 profile=p psk=00112233445566778899aabbccddeeff", &why), &why); // the number is taken
	must(rotate(store, "a", &rotation, &why), &why);
	assert_string_equal(rotation.identity, "a.3");
	rotation.identity[0] = '\0';
	assert_int_equal(rotate(store, "a", &rotation, &why), GW_E_EXISTS);
	close_store(store);
	open_store(store); // it is durable
	snapshot = gw_snapshot_get(store->registry);
	device = device_at(snapshot, "a");
	assert_ptr_equal(gw_snapshot_by_psk(snapshot, gw_span_text("a")), device);
	assert_ptr_equal(gw_snapshot_by_psk(snapshot, gw_span_text("a.3")), device);
	assert_int_equal(gw_device_psk(device, gw_span_text("a")).at[0], 0x00);
	assert_int_equal(gw_device_psk(device, gw_span_text("a.3")).at[0], 'n');
	old_proof = gw_device_proof(device, GW_AUTH_PSK, gw_span_text("a"));
	new_proof = gw_device_proof(device, GW_AUTH_PSK, gw_span_text("a.3"));
	assert_true(old_proof != 0 && new_proof != 0 && old_proof != new_proof);
	gw_registry_used(store->registry, device, gw_span_text("a"));
	must(gw_registry_tend(store->registry, &next_us, &why), &why);
	assert_int_equal(next_us, INT64_MAX);
	assert_ptr_equal(gw_snapshot_by_psk(snapshot, gw_span_text("a")), device);
	gw_registry_used(store->registry, device, gw_span_text("a.3"));
	must(gw_registry_tend(store->registry, &next_us, &why), &why);
	gw_snapshot_put(snapshot);

	for (int again = 0; again < 2; again++) {
		snapshot = gw_snapshot_get(store->registry);
		device = device_at(snapshot, "a");
		assert_null(gw_snapshot_by_psk(snapshot, gw_span_text("a")));
		assert_int_equal(gw_device_psk(device, gw_span_text("a")).len, 0);
		assert_int_equal(gw_device_psk(device, gw_span_text("a.3")).len, 16);
		assert_false(gw_device_proves(device, GW_AUTH_PSK, old_proof));
		assert_true(gw_device_proves(device, GW_AUTH_PSK, new_proof));
		gw_snapshot_put(snapshot);
		close_store(store);
		open_store(store);
	}
	must(rotate(store, "a", &rotation, &why), &why);
	assert_string_equal(rotation.identity, "a.4");
}

static void
test_rotation_until_a_date(void **state)
{
	struct store *store = *state;
	int64_t now_us = gw_clock_wall_us(), next_us;
	struct gw_rotation rotation = { .until_us = now_us + 1000000 }, at_once = { .at_once = true }, none = { .until_used = true };
	const struct gw_snapshot *snapshot;
	struct gw_why why = { "" };

	gw_clock_fake_wall(now_us);
	must(add(store, "id=a profile=p psk=00112233445566778899aabbccddeeff", &why), &why);
	must(add(store, "id=b profile=p cert_subject=b", &why), &why);
	assert_int_equal(rotate(store, "b", &none, &why), GW_E_ARGUMENT);
	must(rotate(store, "a", &rotation, &why), &why);
	snapshot = gw_snapshot_get(store->registry);
	gw_registry_used(store->registry, device_at(snapshot, "a"), gw_span_text("a.2")); // the date alone counts
	must(gw_registry_tend(store->registry, &next_us, &why), &why);
	assert_int_equal(next_us, now_us + 1000000);
	assert_int_equal(gw_device_psk(device_at(snapshot, "a"), gw_span_text("a")).len, 16);
	gw_clock_fake_wall(now_us + 1000000);
	assert_int_equal(gw_device_psk(device_at(snapshot, "a"), gw_span_text("a")).len, 0); // before anybody tends it
	gw_snapshot_put(snapshot);
	must(gw_registry_tend(store->registry, &next_us, &why), &why);
	must(rotate(store, "a", &at_once, &why), &why);
	snapshot = gw_snapshot_get(store->registry);
	assert_string_equal(device_at(snapshot, "a")->psk_identity, "a.3");
	assert_int_equal(device_at(snapshot, "a")->next_psk_len, 0);
	assert_null(gw_snapshot_by_psk(snapshot, gw_span_text("a.2")));
	gw_snapshot_put(snapshot);
	gw_clock_fake_wall(INT64_MIN);
}

// What another program, or a newer one, may have left there.
static void
test_rows_that_are_wrong(void **state)
{
	static const struct {
		const char *row;
		enum gw_error error;
	} cases[] = {
		{ "", GW_E_CORRUPT }, { "[]", GW_E_CORRUPT }, { "{\"version\":1", GW_E_CORRUPT }, { "{\"id\":\"a\"}", GW_E_VERSION },
		{ "{\"version\":3,\"id\":\"a\"}", GW_E_VERSION }, { "{\"version\":2,\"id\":\"a\"}", GW_OK }, { "{\"version\":1,\"id\":\"a b\"}", GW_E_CORRUPT },
		{ "{\"version\":1}", GW_E_CORRUPT },
		{ "{\"version\":1,\"id\":\"a\",\"mac\":\"x\"}", GW_E_CORRUPT }, { "{\"version\":1,\"id\":\"a\",\"speaks_for\":[1]}", GW_E_CORRUPT },
		{ "{\"version\":1,\"id\":\"a\",\"speaks_for\":[\"b\"]}", GW_OK },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct gw_device device;
		struct gw_why why = { "" };

		assert_int_equal(gw_device_row_read(gw_span_text(cases[i].row), &device, &why), cases[i].error);
		gw_device_fini(&device);
	}
}

static void
put_row(struct store *store, const char *key, const char *row)
{
	struct gw_source source;
	struct gw_ticket *ticket;
	struct gw_why why = { "" };

	must(gw_source_init(&source, store->intake, 1), &why);
	ticket = gw_ticket_get(&source);
	must(gw_ticket_put(ticket, gw_span_text(key), gw_span_text(row)), &why);
	must(gw_intake_commit(ticket), &why);
	gw_ticket_release(ticket);
	gw_source_fini(&source);
}

static void
test_a_damaged_row_keeps_nobody_out(void **state)
{
	struct store *store = *state;
	const struct gw_snapshot *snapshot;
	struct gw_registry *newer;
	struct gw_why why = { "" };

	must(add(store, "id=a profile=p", &why), &why);
	put_row(store, "device/b", "{\"version\":1,\"id\":");
	close_store(store);
	open_store(store);
	snapshot = gw_snapshot_get(store->registry);
	assert_non_null(gw_snapshot_device(snapshot, gw_span_text("a")));
	assert_null(gw_snapshot_at(snapshot, 1));
	gw_snapshot_put(snapshot);
	put_row(store, "device/b", "{\"version\":9,\"id\":\"b\"}");
	assert_int_equal(gw_registry_open(store->journal, store->intake, &newer, &why), GW_E_VERSION);
	assert_non_null(strstr(why.text, "version 9"));
}

static void
test_a_change_is_seen_at_once_and_recorded(void **state)
{
	struct store *store = *state;
	struct gw_device device = device_of("id=a profile=p");
	struct gw_change change = { .kind = GW_CHANGE_ADD, .devices = &device, .count = 1, .who = "uid 7 (anna)" };
	uint64_t generation = gw_registry_generation(store->registry), next;
	const struct gw_snapshot *old = gw_snapshot_get(store->registry);
	static uint8_t buf[GW_RECORD_MAX + 16];
	struct gw_why why = { "" };
	struct gw_record record;
	struct gw_event event;
	struct gw_span lent;
	size_t used;

	assert_int_equal(gw_snapshot_generation(old), generation);
	must(gw_registry_change(store->registry, &change, &why), &why);
	assert_true(gw_registry_generation(store->registry) > generation);
	assert_null(gw_snapshot_device(old, gw_span_text("a")));
	gw_snapshot_put(old);
	must(gw_journal_read(store->journal, 1, buf, sizeof(buf), &used, &next), &why);
	lent = gw_span(buf, used);
	assert_true(gw_journal_step(&lent, &record));
	assert_int_equal(record.type, GW_RECORD_COMMAND);
	must(gw_event_open(&record, &event, &why), &why);
	assert_true(gw_span_is(event.principal, "uid 7 (anna)"));
	assert_true(gw_span_is(event.device, "a"));
	assert_true(gw_span_is(event.text, "device add a"));
}

static void
test_many_or_none(void **state)
{
	struct store *store = *state;
	struct gw_device devices[3] = { device_of("id=a profile=p"), device_of("id=b profile=p cert_subject=s"), device_of("id=c profile=p cert_subject=s") };
	const struct gw_snapshot *snapshot;
	struct gw_why why = { "" };

	assert_int_equal(gw_registry_add_many(store->registry, devices, 3, &why), GW_E_EXISTS);
	snapshot = gw_snapshot_get(store->registry);
	assert_null(gw_snapshot_at(snapshot, 0));
	gw_snapshot_put(snapshot);
	must(gw_registry_add_many(store->registry, devices, 2, &why), &why);
	close_store(store);
	open_store(store);
	snapshot = gw_snapshot_get(store->registry);
	assert_string_equal(gw_snapshot_at(snapshot, 0)->id, "a");
	assert_string_equal(gw_snapshot_at(snapshot, 1)->id, "b");
	assert_null(gw_snapshot_at(snapshot, 2));
	gw_snapshot_put(snapshot);
}

static void
test_ten_thousand(void **state)
{
	enum { COUNT = 10000 };
	struct gw_device *devices = calloc(COUNT, sizeof(*devices));
	struct store *store = *state;
	const struct gw_snapshot *snapshot;
	struct gw_why why = { "" };
	char id[32];
	int64_t at;

	for (int i = 0; i < COUNT; i++) {
		snprintf(devices[i].id, sizeof(devices[i].id), "device-%05d", (i * 7919) % COUNT);
		strcpy(devices[i].profile, "bedside-json");
		devices[i].psk_len = 16;
		memcpy(devices[i].psk, &i, sizeof(i));
	}
	must(gw_registry_add_many(store->registry, devices, COUNT, &why), &why);
	free(devices);
	close_store(store);
	at = gw_clock_mono_us();
	open_store(store);
	print_message("%d devices: opened in %lld ms\n", COUNT, (long long)(gw_clock_mono_us() - at) / 1000);
	snapshot = gw_snapshot_get(store->registry);
	for (int i = 0; i < COUNT; i++) {
		snprintf(id, sizeof(id), "device-%05d", i);
		assert_string_equal(gw_snapshot_at(snapshot, (size_t)i)->id, id);
		assert_ptr_equal(gw_snapshot_by_psk(snapshot, gw_span_text(id)), gw_snapshot_at(snapshot, (size_t)i));
	}
	assert_null(gw_snapshot_at(snapshot, COUNT));
	gw_snapshot_put(snapshot);
}

static int64_t
cpu_us(void)
{
	struct timespec at;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
	return at.tv_sec * INT64_C(1000000) + at.tv_nsec / 1000;
}

static void
test_passwords(void **state)
{
	struct store *store = *state;
	struct gw_device device = device_of("id=a profile=p"), costly;
	const struct gw_snapshot *snapshot;
	const struct gw_device *kept;
	struct gw_why why = { "" };
	int64_t first, second;

	must(gw_registry_hash_password(gw_span_text("right"), device.password_hash), &why);
	assert_null(strstr(device.password_hash, "right"));
	must(gw_registry_add(store->registry, &device, &why), &why);
	must(add(store, "id=b profile=p", &why), &why);
	snapshot = gw_snapshot_get(store->registry);
	kept = gw_snapshot_by_user(snapshot, gw_span_text("a"));
	assert_non_null(kept);
	assert_false(gw_registry_password(store->registry, kept, gw_span_text("wrong")));
	assert_false(gw_registry_password(store->registry, kept, gw_span_text("")));
	assert_false(gw_registry_password_known(store->registry, kept, gw_span_text("right"))); // not before it was right once
	first = cpu_us();
	assert_true(gw_registry_password(store->registry, kept, gw_span_text("right")));
	second = cpu_us();
	assert_true(gw_registry_password(store->registry, kept, gw_span_text("right")));
	assert_true((cpu_us() - second) * 10 < second - first); // of this thread's work, whatever else the machine does
	assert_true(gw_registry_password_known(store->registry, kept, gw_span_text("right")));
	assert_false(gw_registry_password_known(store->registry, kept, gw_span_text("wrong")));
	// What a hash from elsewhere may cost is bounded.
	costly = *kept;
	snprintf(costly.password_hash, sizeof(costly.password_hash), "$argon2id$v=19$m=1073741824,t=1000,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaA");
	assert_false(gw_registry_password(store->registry, &costly, gw_span_text("right")));
	assert_false(gw_registry_password(store->registry, kept, gw_span_text("wrong")));
	assert_false(gw_registry_password(store->registry, gw_snapshot_device(snapshot, gw_span_text("b")), gw_span_text("right")));
	gw_snapshot_put(snapshot);
	assert_int_equal(gw_registry_hash_password(gw_span_text(""), device.password_hash), GW_E_ARGUMENT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_fields_that_are_wrong),
		cmocka_unit_test(test_rows_are_as_described),
		cmocka_unit_test(test_rows_that_are_wrong),
		cmocka_unit_test_setup_teardown(test_rotation_until_used, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_rotation_until_a_date, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_credentials_belong_to_one_device, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_who_may_speak, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_changes_last, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_damaged_row_keeps_nobody_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_change_is_seen_at_once_and_recorded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_many_or_none, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_ten_thousand, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_passwords, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

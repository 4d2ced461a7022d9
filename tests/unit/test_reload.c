// SPDX-License-Identifier: Apache-2.0
// Reload with parts that only count: which are ended and started, in which order and with what; failures; who asks is answered.
#include "gateway/reload.h"

#include "gateway/nomenclature.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/vitalgate-reload-XXXXXX";
static char file[64];
static char trail[512]; // what was done with parts, in order

// A part with the values that it was started with.
struct fake {
	const struct gw_core *core;
};
static const char *refused_prefix, *refused_application; // not to be started with these

static void
step(const char *what, const char *with)
{
	size_t used = strlen(trail);

	snprintf(trail + used, sizeof(trail) - used, "%s%s ", what, with);
}

static enum gw_error
start(struct gw_core *core, void **part, const char *name, const char *value, const char *refused, struct gw_why *why)
{
	struct fake *fake;

	step(name, value);
	if (refused != NULL && strcmp(refused, value) == 0)
		return gw_fail(why, GW_E_SYSTEM, "%s is taken", value);
	fake = malloc(sizeof(*fake));
	assert_non_null(fake);
	fake->core = core;
	*part = fake;
	return GW_OK;
}

static bool
bus_enabled(const struct gw_config *config)
{
	return config->bus_enabled;
}

static enum gw_error
bus_start(struct gw_core *core, void **part, struct gw_why *why)
{
	return start(core, part, "bus:", core->config->bus_prefix, refused_prefix, why);
}

static void
bus_stop(void *part)
{
	step("bus-stop:", ((struct fake *)part)->core->config->bus_prefix);
}

static void
bus_close(void *part)
{
	step("bus-close", "");
	free(part);
}

static bool
in_enabled(const struct gw_config *config)
{
	return config->hl7_in_enabled;
}

static enum gw_error
in_check(const struct gw_config *config, struct gw_why *why)
{
	if (strcmp(config->hl7_in_application, "wrong") == 0)
		return gw_fail(why, GW_E_CONFIG, "hl7_in.application is wrong");
	if (strcmp(config->hl7_in_application, "mqtt2") == 0 && config->mqtt_port != 2)
		return gw_fail(why, GW_E_CONFIG, "mqtt.port must be 2");
	return GW_OK;
}

static enum gw_error
in_start(struct gw_core *core, void **part, struct gw_why *why)
{
	return start(core, part, "in:", core->config->hl7_in_application, refused_application, why);
}

static void
in_stop(void *part)
{
	step("in-stop:", ((struct fake *)part)->core->config->hl7_in_application);
}

static void
in_close(void *part)
{
	step("in-close", "");
	free(part);
}

static bool
always(const struct gw_config *config)
{
	(void)config;
	return true;
}

static enum gw_error
mqtt_start(struct gw_core *core, void **part, struct gw_why *why)
{
	return start(core, part, "mqtt", "", NULL, why);
}

static void
mqtt_stop(void *part)
{
	(void)part;
	step("mqtt-stop", "");
}

static void
mqtt_close(void *part)
{
	free(part);
}

static const struct gw_part bus = { .name = "bus", .enabled = bus_enabled, .sections = (const char *const[]){ "bus", NULL },
	.start = bus_start, .stop = bus_stop, .close = bus_close };
static const struct gw_part in = { .name = "hl7_in", .enabled = in_enabled, .sections = (const char *const[]){ "hl7_in", NULL }, .check = in_check,
	.start = in_start, .stop = in_stop, .close = in_close };
static const struct gw_part mqtt = { .name = "mqtt", .enabled = always, .start = mqtt_start, .stop = mqtt_stop, .close = mqtt_close };
static const struct gw_part *const table[] = { &bus, &in, &mqtt };

// The gateway: everything that a reload needs of it.
static struct {
	struct gw_core core;
	struct gw_parts parts;
	pthread_rwlock_t lock;
	struct gw_reload *reload;
	struct gw_config *config;
} hub;

#define BASE "tls: {certificate: test.yaml, key: test.yaml}\n"

static void
write_file(const char *text)
{
	FILE *out = fopen(file, "w");

	assert_non_null(out);
	fprintf(out, BASE "%s", text);
	assert_int_equal(fclose(out), 0);
}

static void
begin(const char *text)
{
	struct gw_why why = { "" };

	write_file(text);
	memset(&hub, 0, sizeof(hub));
	if (gw_parts_config(file, table, 3, &hub.config, &why) != GW_OK)
		fail_msg("%s", why.text);
	hub.core = (struct gw_core){ .config = hub.config, .parts = table, .part_count = 3 };
	pthread_rwlock_init(&hub.lock, NULL);
	hub.parts.lock = &hub.lock;
	assert_int_equal(gw_reload_open(&hub.core, &hub.parts, &hub.reload, &why), GW_OK);
	for (size_t i = 0; i < 3; i++) {
		if (table[i]->enabled(hub.config))
			assert_int_equal(gw_parts_start(&hub.parts, table[i], &hub.core, &why), GW_OK);
	}
	trail[0] = '\0';
	refused_prefix = refused_application = NULL;
}

static void
end(void)
{
	for (size_t i = hub.parts.count; i-- > 0;)
		gw_parts_close(&hub.parts, i);
	gw_reload_close(hub.reload);
	gw_config_free(hub.config);
	pthread_rwlock_destroy(&hub.lock);
}

static void *
ask(void *arg)
{
	gw_reload_ask(hub.reload, GW_RELOAD_ALL, arg);
	return NULL;
}

// Writes the file and reloads, asked by another thread.
static void
reload(const char *text, struct gw_reload_outcome *outcome)
{
	pthread_t thread;
	uint64_t asked;

	trail[0] = '\0';
	if (text != NULL)
		write_file(text);
	assert_int_equal(pthread_create(&thread, NULL, ask, outcome), 0);
	while (read(gw_reload_fd(hub.reload), &asked, sizeof(asked)) < 0)
		usleep(1000);
	gw_reload_run(hub.reload);
	pthread_join(thread, NULL);
}

static void
assert_contains(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("\"%s\" is not in \"%s\"", part, text);
}

static void
test_only_what_changed(void **state)
{
	struct gw_reload_outcome outcome;

	(void)state;
	begin("bus: {prefix: a}\nhl7_in: {enabled: true, application: x}\n");
	reload(NULL, &outcome);
	assert_int_equal(outcome.error, GW_OK);
	assert_contains(outcome.lines, "nothing has changed");
	assert_string_equal(trail, "");
	reload("bus: {prefix: b}\nhl7_in: {enabled: true, application: x}\n", &outcome);
	assert_string_equal(trail, "bus-stop:a bus-close bus:b ");
	assert_string_equal(outcome.lines, "bus: started anew (prefix)\n");
	assert_string_equal(hub.core.config->bus_prefix, "b");
	// Both: told to stop side by side, the later first, then started in order.
	reload("bus: {prefix: c}\nhl7_in: {enabled: true, application: y}\n", &outcome);
	assert_string_equal(trail, "in-stop:x bus-stop:b in-close bus-close bus:c in:y ");
	end();
}

static void
test_off_and_on(void **state)
{
	struct gw_reload_outcome outcome;

	(void)state;
	begin("hl7_in: {enabled: true, application: x}\n");
	reload("bus: {enabled: false}\nhl7_in: {enabled: true, application: x}\n", &outcome);
	assert_string_equal(trail, "bus-stop:vitals bus-close ");
	assert_string_equal(outcome.lines, "bus: stopped (enabled)\n");
	assert_int_equal(hub.parts.count, 2);
	reload("hl7_in: {enabled: true, application: x}\n", &outcome);
	assert_string_equal(trail, "bus:vitals ");
	assert_string_equal(outcome.lines, "bus: started (enabled)\n");
	assert_ptr_equal(hub.parts.slots[0].part, &bus); // the table's order
	assert_ptr_equal(hub.parts.slots[2].part, &mqtt);
	end();
}

static void
test_what_is_wrong_changes_nothing(void **state)
{
	static const struct {
		const char *text, *words;
	} cases[] = {
		{ "bus: {prefix: b}\nhl7_in: {prot: 1}\n", "test.yaml:3: unknown option \"prot\" in hl7_in; did you mean \"port\"" },
		{ "bus: {prefix: '#'}\n", "test.yaml: bus.prefix is a topic" },
		{ "bus: {prefix: b}\nhl7_in: {application: wrong}\n", "test.yaml: hl7_in.application is wrong" },
		{ "bus: {prefix: b}\nmqtt: {port: 2}\nhl7_in: {application: mqtt2}\n", "stop and start the gateway for this" },
		{ "bus: {prefix: b}\nprofiles: {dir: gone}\n", "profiles.dir: cannot read" },
		{ "bus: [\n", "not YAML" },
	};
	struct gw_reload_outcome outcome;
	struct gw_config *config;
	struct gw_why why;

	(void)state;
	begin("bus: {prefix: a}\n");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		reload(cases[i].text, &outcome);
		assert_int_equal(outcome.error, GW_E_CONFIG);
		assert_contains(outcome.why.text, cases[i].words);
		assert_string_equal(outcome.lines, "nothing has changed\n");
		assert_string_equal(trail, "");
		assert_string_equal(hub.core.config->bus_prefix, "a");
		if (i == 3)
			continue; // a start takes it
		assert_int_equal(gw_parts_config(file, table, 3, &config, &why), GW_E_CONFIG);
		assert_string_equal(why.text, outcome.why.text); // the same words
	}
	assert_int_equal(unlink(file), 0);
	reload(NULL, &outcome);
	assert_int_equal(outcome.error, GW_E_CONFIG);
	end();
}

static void
test_what_waits_for_a_start(void **state)
{
	struct gw_reload_outcome outcome;

	(void)state;
	begin("bus: {prefix: a}\n");
	for (int i = 0; i < 2; i++) { // it is told each time: it still waits
		reload("bus: {prefix: a}\nmqtt: {port: 2, threads: 2}\nstore: {budget_mb: 512}\n", &outcome);
		assert_int_equal(outcome.error, GW_OK);
		assert_string_equal(outcome.lines,
		    "store: takes effect at the next start (budget_mb)\nmqtt: takes effect at the next start (port, threads)\n");
		assert_string_equal(trail, "");
		assert_int_equal(hub.core.config->mqtt_port, 8883);
	}
	reload("bus: {prefix: b}\nmqtt: {port: 2}\nlog: {level: warning}\n", &outcome);
	assert_string_equal(outcome.lines, "mqtt: takes effect at the next start (port)\nbus: started anew (prefix)\nlog: in effect (level)\n");
	assert_int_equal(hub.core.config->mqtt_port, 8883);
	reload("bus: {prefix: b}\nlog: {level: info}\n", &outcome);
	assert_string_equal(outcome.lines, "log: in effect (level)\n");
	end();
}

static void
test_a_part_that_cannot_start(void **state)
{
	struct gw_reload_outcome outcome;

	(void)state;
	begin("bus: {prefix: a}\nhl7_in: {enabled: true, application: x}\n");
	refused_application = "y";
	reload("bus: {prefix: b}\nhl7_in: {enabled: true, application: y}\n", &outcome);
	assert_int_equal(outcome.error, GW_E_SYSTEM);
	assert_string_equal(outcome.why.text, "hl7_in: y is taken; it goes on as it was before");
	assert_string_equal(outcome.lines, "bus: started anew (prefix)\n");
	assert_string_equal(trail, "in-stop:x bus-stop:a in-close bus-close bus:b in:y in:x ");
	assert_string_equal(hub.core.config->hl7_in_application, "x");
	assert_string_equal(hub.core.config->bus_prefix, "b");
	refused_application = NULL; // and once it can be, it is
	reload(NULL, &outcome);
	assert_string_equal(trail, "in-stop:x in-close in:y ");
	assert_int_equal(outcome.error, GW_OK);
	// One that did not run before.
	reload("bus: {prefix: b}\n", &outcome);
	assert_string_equal(outcome.lines, "hl7_in: stopped (enabled, application)\n");
	refused_application = "n";
	reload("bus: {prefix: b}\nhl7_in: {enabled: true, application: n}\n", &outcome);
	assert_string_equal(outcome.why.text, "hl7_in: n is taken; it does not run");
	assert_false(hub.core.config->hl7_in_enabled);
	end();
}

// The second and the third start fail.
static enum gw_error
fragile_start(struct gw_core *core, void **part, struct gw_why *why)
{
	static int starts;

	starts++;
	if (starts == 2 || starts == 3)
		return gw_fail(why, GW_E_SYSTEM, "away");
	return bus_start(core, part, why);
}

static const struct gw_part fragile = { .name = "bus", .enabled = bus_enabled, .sections = (const char *const[]){ "bus", NULL },
	.start = fragile_start, .stop = bus_stop, .close = bus_close };
static const struct gw_part *const alone[] = { &fragile };

static void
test_neither_new_nor_old(void **state)
{
	struct gw_reload_outcome outcome;
	struct gw_why why = { "" };

	(void)state;
	begin("bus: {prefix: a}\n");
	for (size_t i = hub.parts.count; i-- > 0;)
		gw_parts_close(&hub.parts, i);
	hub.core.parts = alone;
	hub.core.part_count = 1;
	assert_int_equal(gw_parts_start(&hub.parts, &fragile, &hub.core, &why), GW_OK);
	reload("bus: {prefix: b}\n", &outcome);
	assert_string_equal(outcome.why.text, "bus: away; nor as it was before (bus: away): it does not run");
	assert_int_equal(hub.parts.count, 0);
	reload("bus: {prefix: a}\n", &outcome); // what it was: started all the same
	assert_string_equal(trail, "bus:a ");
	assert_string_equal(outcome.lines, "bus: started\n");
	assert_int_equal(outcome.error, GW_OK);
	end();
}

static void
test_the_stop_answers(void **state)
{
	struct gw_reload_outcome outcome;
	pthread_t thread;

	(void)state;
	begin("");
	assert_int_equal(pthread_create(&thread, NULL, ask, &outcome), 0);
	gw_reload_stop(hub.reload);
	pthread_join(thread, NULL);
	assert_int_equal(outcome.error, GW_E_STOPPING);
	end();
}

static int
set_up(void **state)
{
	struct gw_why why;

	(void)state;
	if (mkdtemp(folder) == NULL || gw_nomenclature_open(&why) != GW_OK)
		return -1;
	snprintf(file, sizeof(file), "%s/test.yaml", folder);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	return unlink(file) == 0 && rmdir(folder) == 0 ? 0 : -1;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_what_changed),
		cmocka_unit_test(test_off_and_on),
		cmocka_unit_test(test_what_is_wrong_changes_nothing),
		cmocka_unit_test(test_what_waits_for_a_start),
		cmocka_unit_test(test_a_part_that_cannot_start),
		cmocka_unit_test(test_neither_new_nor_old),
		cmocka_unit_test(test_the_stop_answers),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

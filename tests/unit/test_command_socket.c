// SPDX-License-Identifier: Apache-2.0
// The command socket against clients of every kind: good ones, slow ones, dead ones, too many.
#include "command_store.h"

#include "gateway/clock.h"
#include "gateway/control.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { COMMANDS = 5 };

static struct gw_control *
open_control(struct store *store, const struct gw_parts *parts)
{
	struct gw_control_options options = { .path = store->config->control_socket, .core = &store->core, .parts = parts,
		.commands_max = COMMANDS };
	struct gw_control *control;
	struct gw_why why = { "" };

	must(gw_control_open(&options, &control, &why), &why);
	return control;
}

static int
dial(struct store *store)
{
	int fd = gw_control_connect(store->config->control_socket);

	assert_true(fd >= 0);
	return fd;
}

static void
say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

// All that comes until the other end closes. The caller frees it.
static char *
hear(int fd)
{
	size_t len = 0, cap = 1u << 20;
	char *text = malloc(cap + 1);
	ssize_t got;

	while (len < cap && (got = recv(fd, text + len, cap - len, 0)) > 0)
		len += (size_t)got;
	text[len] = '\0';
	close(fd);
	return text;
}

static void
expect(int fd, const char *part)
{
	char *text = hear(fd);

	if (strstr(text, part) == NULL)
		fail_msg("%s", text);
	free(text);
}

static void
test_requests(void **state)
{
	struct store *store = *state;
	struct gw_parts parts = { .count = 0 };
	struct gw_control *control = open_control(store, &parts);
	struct stat at;
	int fd;

	assert_int_equal(stat(store->config->control_socket, &at), 0);
	assert_int_equal(at.st_mode & 0777, 0660);
	fd = dial(store);
	say(fd, "{\"command\":\"status\"}\n");
	expect(fd, "\"running\":true");
	fd = dial(store);
	say(fd, "{\"command\":"); // in two pieces
	say(fd, "\"device list\"}\n");
	expect(fd, "{\"end\":true,\"error\":\"GW_OK\",\"why\":\"\"}\n");
	fd = dial(store);
	say(fd, "not JSON\n");
	expect(fd, "\"error\":\"GW_E_ARGUMENT\"");
	fd = dial(store);
	say(fd, "{\"command\":\"device add\",\"id\":\"a\",\"profile\":\"senml\"}\n");
	expect(fd, "\"psk_hex\":\"");
	gw_control_close(control);
	assert_int_equal(gw_control_connect(store->config->control_socket), -1);
}

// Clients that say nothing hold their slots; the next is told, nobody is hurt, and the stop does not wait for them.
static void
test_too_many_and_the_stop(void **state)
{
	struct store *store = *state;
	struct gw_parts parts = { .count = 0 };
	struct gw_control *control = open_control(store, &parts);
	int fds[COMMANDS], beyond;
	int64_t at;

	for (size_t i = 0; i < COMMANDS; i++)
		fds[i] = dial(store);
	beyond = dial(store);
	expect(beyond, "GW_E_BUSY");
	close(fds[3]); // one goes: its slot is free again
	for (bool served = false; !served;) {
		int fd = dial(store);
		char *text;

		(void)send(fd, "{\"command\":\"device list\"}\n", 26, MSG_NOSIGNAL); // refused and closed before we could ask: that is an answer too
		text = hear(fd);
		served = strstr(text, "GW_OK") != NULL;
		assert_true(served || strstr(text, "GW_E_BUSY") != NULL || text[0] == '\0');
		free(text);
	}
	at = gw_clock_mono_us();
	gw_control_close(control);
	assert_true(gw_clock_mono_us() - at < 10000000); // far below the time that a silent client is given
	for (size_t i = 0; i < COMMANDS; i++) {
		if (i != 3)
			close(fds[i]);
	}
}

// Somebody asks for much and reads nothing: others are served meanwhile, and the stop does not wait.
static void
test_a_client_that_does_not_read(void **state)
{
	struct store *store = *state;
	struct gw_device *devices = calloc(2000, sizeof(*devices));
	struct gw_parts parts = { .count = 0 };
	struct gw_control *control;
	struct gw_why why = { "" };
	int deaf, other;

	for (int i = 0; i < 2000; i++) {
		snprintf(devices[i].id, sizeof(devices[i].id), "device-%d", i);
		strcpy(devices[i].profile, "senml");
	}
	must(gw_registry_add_many(store->core.registry, devices, 2000, &why), &why);
	free(devices);
	control = open_control(store, &parts);
	deaf = dial(store);
	say(deaf, "{\"command\":\"device list\"}\n");
	assert_int_equal(poll(&(struct pollfd){ .fd = deaf, .events = POLLIN }, 1, 60000), 1);
	other = dial(store);
	say(other, "{\"command\":\"device list\"}\n");
	expect(other, "device-1999");
	gw_control_stop(control);
	gw_control_close(control);
	close(deaf);
}

// Nothing but an old socket is replaced.
static void
test_paths(void **state)
{
	struct store *store = *state;
	struct gw_parts parts = { .count = 0 };
	struct gw_control_options options = { .core = &store->core, .parts = &parts, .commands_max = 2 };
	struct gw_control *control;
	struct gw_why why = { "" };
	char path[400], deep[300];
	FILE *file;
	int fd;

	snprintf(path, sizeof(path), "%s/plain", store->dir);
	file = fopen(path, "w");
	fclose(file);
	options.path = path;
	assert_int_equal(gw_control_open(&options, &control, &why), GW_E_SYSTEM);
	assert_non_null(strstr(why.text, "control.socket"));
	assert_int_equal(access(path, F_OK), 0);
	// A path beyond what an address holds.
	memset(deep, 'd', 150);
	deep[150] = '\0';
	snprintf(path, sizeof(path), "%s/%s", store->dir, deep);
	assert_int_equal(mkdir(path, 0700), 0);
	strcat(path, "/socket");
	must(gw_control_open(&options, &control, &why), &why);
	fd = gw_control_connect(path);
	assert_true(fd >= 0);
	say(fd, "{\"command\":\"device list\"}\n");
	expect(fd, "GW_OK");
	gw_control_close(control);
	assert_int_not_equal(access(path, F_OK), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_requests, store_open, store_close),
		cmocka_unit_test_setup_teardown(test_too_many_and_the_stop, store_open, store_close),
		cmocka_unit_test_setup_teardown(test_a_client_that_does_not_read, store_open, store_close),
		cmocka_unit_test_setup_teardown(test_paths, store_open, store_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

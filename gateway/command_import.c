// SPDX-License-Identifier: Apache-2.0
// `device import`: many devices in one commit, all or none. The command line turns the CSV file into objects, one per line, with the columns' names;
// here they become devices. Every line that is wrong is told. Threads: as command.h says.
#include "gateway/command_handlers.h"

#include "gateway/command_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEVICES_MAX 20000
#define WRONG_MAX 50 // lines that are told one by one

struct import {
	struct gw_call *call;
	const struct gw_snapshot *now;
	struct gw_issuer *issuer; // NULL: no certificates are wanted
	struct gw_issue issue;
	struct gw_new_device *devices;
	long *lines;
	size_t count, wrong;
	enum gw_error error; // of the first wrong line; call->why has its words
};

static const char *
text_of(yyjson_val *row, const char *key)
{
	const char *text = yyjson_get_str(yyjson_obj_get(row, key));

	return text != NULL && text[0] != '\0' ? text : NULL;
}

// A column that the answer to `device list --format csv` has but that is no field of a device is passed over, so that its output can be read again.
static bool
passed_over(const char *column)
{
	static const char *const names[] = { "line", "password", "state", "last_reading", "created", "changed" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(column, names[i]) == 0)
			return true;
	}
	return false;
}

static enum gw_error
take_columns(yyjson_val *row, struct gw_new_device *new, struct gw_why *why)
{
	enum gw_error error = GW_OK;
	size_t i, max;
	yyjson_val *key, *value;

	yyjson_obj_foreach(row, i, max, key, value) {
		const char *name = yyjson_get_str(key);

		if (error != GW_OK || passed_over(name) || strcmp(name, "password_hash") == 0 || strncmp(name, "next_", 5) == 0)
			continue;
		error = gw_device_set(&new->device, name, gw_span(yyjson_get_str(value), yyjson_get_len(value)), why);
	}
	if (error == GW_OK && strcmp(text_of(row, "state") != NULL ? text_of(row, "state") : "", "disabled") == 0)
		new->device.disabled = true;
	return error;
}

static enum gw_error
take_credentials(const struct import *import, yyjson_val *row, struct gw_new_device *new, struct gw_why *why)
{
	struct gw_device *device = &new->device;
	const char *password = text_of(row, "password");
	bool wants_password = password != NULL || device->user[0] != '\0';
	enum gw_error error = GW_OK;

	if (device->psk_len == 0 && (device->psk_identity[0] != '\0' || (device->subject[0] == '\0' && !wants_password && import->issuer == NULL)))
		gw_new_device_generate_psk(new);
	if (wants_password)
		error = gw_new_device_password(new, password, why);
	if (error == GW_OK && import->issuer != NULL)
		error = gw_new_device_issue(import->issuer, &import->issue, new, why);
	return error == GW_OK ? gw_device_complete(device, why) : error;
}

// What the registry has already. The registry itself would say it of the first alone, and without its line.
static enum gw_error
check_free(const struct gw_snapshot *now, const struct gw_device *device, struct gw_why *why)
{
	const struct {
		const char *what, *name;
		const struct gw_device *other;
	} found[] = {
		{ "device", device->id, gw_snapshot_device(now, gw_span_text(device->id)) },
		{ "PSK identity", device->psk_identity, gw_snapshot_by_psk(now, gw_span_text(device->psk_identity)) },
		{ "certificate subject", device->subject, gw_snapshot_by_subject(now, gw_span_text(device->subject)) },
		{ "user", device->user, gw_snapshot_by_user(now, gw_span_text(device->user)) },
	};

	if (found[0].other != NULL)
		return gw_fail(why, GW_E_EXISTS, "device \"%s\" exists already", device->id);
	for (size_t i = 1; i < sizeof(found) / sizeof(found[0]); i++) {
		if (found[i].other != NULL)
			return gw_fail(why, GW_E_EXISTS, "%s \"%s\" belongs to device \"%s\" already", found[i].what, found[i].name, found[i].other->id);
	}
	return GW_OK;
}

static enum gw_error
take_row(const struct import *import, yyjson_val *row, struct gw_new_device *new, struct gw_why *why)
{
	struct gw_device *device = &new->device;
	enum gw_error error = take_columns(row, new, why);

	if (error == GW_OK && device->profile[0] == '\0' && device->speaks_for_count == 0)
		error = gw_fail(why, GW_E_ARGUMENT, "the column \"profile\" is empty");
	if (error == GW_OK)
		error = gw_new_device_profile(import->call->core, new, why);
	if (error == GW_OK)
		error = take_credentials(import, row, new, why);
	return error == GW_OK ? check_free(import->now, device, why) : error;
}

static void
emit_secrets(struct gw_call *call, const struct gw_new_device *devices, size_t count)
{
	struct gw_reach reach;

	gw_reach_of(call->core->config, gw_call_text(call, "host"), &reach);
	for (size_t i = 0; i < count; i++) {
		yyjson_mut_val *object;
		yyjson_mut_doc *doc;

		if (!devices[i].psk_made && devices[i].password[0] == '\0' && !devices[i].issued)
			continue;
		if ((doc = gw_call_object(&object)) == NULL)
			return;
		yyjson_mut_obj_add_strcpy(doc, object, "device", devices[i].device.id);
		yyjson_mut_obj_add_strcpy(doc, object, "profile", devices[i].device.profile);
		gw_new_device_secrets(&devices[i], doc, object);
		gw_device_example(call->core, &devices[i].device, doc, object);
		gw_handout(call->core, &reach, &devices[i], NULL, doc, object);
		if (!gw_call_emit(call, doc))
			return;
	}
}

static void
emit_count(struct gw_call *call, size_t count)
{
	yyjson_mut_val *object;
	yyjson_mut_doc *doc = gw_call_object(&object);

	if (doc == NULL)
		return;
	yyjson_mut_obj_add_uint(doc, object, "imported", count);
	(void)gw_call_emit(call, doc);
}

// The registry wants them side by side.
static enum gw_error
commit(struct gw_call *call, const struct gw_new_device *new, size_t count)
{
	struct gw_new_devices made = { new, count };
	struct gw_change change = { .kind = GW_CHANGE_ADD, .count = count, .who = call->who, .with = gw_new_devices_rows, .arg = &made };
	struct gw_device *devices = calloc(count, sizeof(*devices));
	enum gw_error error;

	if (devices == NULL)
		return gw_fail(call->why, GW_E_MEMORY, "out of memory");
	for (size_t i = 0; i < count; i++)
		devices[i] = new[i].device;
	change.devices = devices;
	error = gw_registry_change(call->core->registry, &change, call->why);
	for (size_t i = 0; i < count; i++)
		devices[i].speaks_for = NULL; // the list's owner is new[i]
	for (size_t i = 0; i < count; i++)
		gw_device_fini(&devices[i]);
	free(devices);
	return error;
}

// ---- Lines that are wrong ----

static void
note(struct gw_call *call, const char *words)
{
	yyjson_mut_val *object;
	yyjson_mut_doc *doc = gw_call_object(&object);

	if (doc == NULL)
		return;
	yyjson_mut_obj_add_strcpy(doc, object, "note", words);
	(void)gw_call_emit(call, doc);
}

// One alone is the command's own words; of several each is told.
static void
tell_wrong(struct import *import, enum gw_error error, long line, const char *words)
{
	char text[320];

	snprintf(text, sizeof(text), "line %ld: %s", line, words);
	if (import->wrong++ == 0) {
		import->error = gw_fail(import->call->why, error, "%s", text);
		return;
	}
	if (import->wrong == 2)
		note(import->call, import->call->why->text);
	if (import->wrong <= WRONG_MAX)
		note(import->call, text);
}

// One of the names that only one device can have.
struct claim {
	const char *name, *id;
	long line;
};

static int
by_name(const void *a, const void *b)
{
	const struct claim *left = a, *right = b;
	int order = strcmp(left->name, right->name);

	return order != 0 ? order : (left->line > right->line) - (left->line < right->line);
}

// Two lines of the file that claim the same.
static void
tell_twice(struct import *import, const char *what, size_t offset)
{
	struct claim *claims = calloc(import->count, sizeof(*claims));
	char words[200];
	size_t count = 0;

	for (size_t i = 0; claims != NULL && i < import->count; i++) {
		const char *name = (const char *)&import->devices[i].device + offset;

		if (name[0] != '\0')
			claims[count++] = (struct claim){ name, import->devices[i].device.id, import->lines[i] };
	}
	if (count > 1)
		qsort(claims, count, sizeof(*claims), by_name);
	for (size_t i = 1; i < count; i++) {
		if (strcmp(claims[i].name, claims[i - 1].name) != 0 || (offset != offsetof(struct gw_device, id) && strcmp(claims[i].id, claims[i - 1].id) == 0))
			continue; // lines of the same device have been told
		snprintf(words, sizeof(words), "%s \"%.64s\" is in line %ld already", what, claims[i].name, claims[i - 1].line);
		tell_wrong(import, GW_E_EXISTS, claims[i].line, words);
	}
	free(claims);
}

static enum gw_error
take_rows(struct import *import, yyjson_val *rows)
{
	yyjson_val *row;
	size_t i, max;

	yyjson_arr_foreach(rows, i, max, row) {
		struct gw_why why = { "" };
		enum gw_error error;

		if (gw_call_ending(import->call))
			return GW_E_STOPPING;
		import->lines[import->count] = (long)yyjson_get_sint(yyjson_obj_get(row, "line"));
		error = take_row(import, row, &import->devices[import->count++], &why);
		if (error != GW_OK)
			tell_wrong(import, error, import->lines[import->count - 1], why.text[0] != '\0' ? why.text : gw_error_text(error));
	}
	tell_twice(import, "device", offsetof(struct gw_device, id));
	tell_twice(import, "PSK identity", offsetof(struct gw_device, psk_identity));
	tell_twice(import, "certificate subject", offsetof(struct gw_device, subject));
	tell_twice(import, "user", offsetof(struct gw_device, user));
	if (import->wrong == 0)
		return GW_OK;
	if (import->wrong == 1)
		return import->error;
	return gw_fail(import->call->why, GW_E_ARGUMENT, "%zu lines are wrong: no device was added", import->wrong);
}

static enum gw_error
open_issuer(struct import *import)
{
	enum gw_error error;

	if (!gw_call_flag(import->call, "issue"))
		return GW_OK;
	error = gw_call_issue(import->call, &import->issue);
	return error == GW_OK ? gw_issuer_open(import->call->core->config, &import->issuer, import->call->why) : error;
}

enum gw_error
gw_command_device_import(struct gw_call *call)
{
	yyjson_val *rows = yyjson_obj_get(call->arguments, "rows");
	size_t count = yyjson_arr_size(rows);
	struct import import = { .call = call };
	enum gw_error error;

	if (count == 0)
		return gw_fail(call->why, GW_E_ARGUMENT, "the list has no devices");
	if (count > DEVICES_MAX)
		return gw_fail(call->why, GW_E_TOO_LARGE, "at most %d devices at once: split the list", DEVICES_MAX);
	import.devices = calloc(count, sizeof(*import.devices));
	import.lines = calloc(count, sizeof(*import.lines));
	import.now = gw_snapshot_get(call->core->registry);
	error = import.devices == NULL || import.lines == NULL ? gw_fail(call->why, GW_E_MEMORY, "out of memory") : open_issuer(&import);
	if (error == GW_OK)
		error = take_rows(&import, rows);
	gw_snapshot_put(import.now);
	gw_issuer_close(import.issuer);
	if (error == GW_OK)
		error = commit(call, import.devices, count);
	if (error == GW_OK) {
		emit_secrets(call, import.devices, count);
		emit_count(call, count);
	}
	for (size_t i = 0; i < import.count; i++)
		gw_new_device_fini(&import.devices[i]);
	free(import.devices);
	free(import.lines);
	return error;
}

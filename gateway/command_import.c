// SPDX-License-Identifier: Apache-2.0
// `device import`: many devices in one commit, all or none. The command line turns the CSV file into objects, one per line, with the columns' names;
// here they become devices. Errors name the line. Threads: as command.h says.
#include "gateway/command_handlers.h"

#include "gateway/command_device.h"

#include <stdlib.h>
#include <string.h>

#define DEVICES_MAX 20000

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

		if (error != GW_OK || passed_over(name) || strcmp(name, "password_hash") == 0)
			continue;
		error = gw_device_set(&new->device, name, gw_span(yyjson_get_str(value), yyjson_get_len(value)), why);
	}
	if (error == GW_OK && strcmp(text_of(row, "state") != NULL ? text_of(row, "state") : "", "disabled") == 0)
		new->device.disabled = true;
	return error;
}

static enum gw_error
take_row(const struct gw_core *core, yyjson_val *row, struct gw_new_device *new, struct gw_why *why)
{
	struct gw_device *device = &new->device;
	const char *password = text_of(row, "password");
	bool wants_password;
	enum gw_error error;

	error = take_columns(row, new, why);
	if (error == GW_OK && device->profile[0] == '\0' && device->speaks_for_count == 0)
		error = gw_fail(why, GW_E_ARGUMENT, "the column \"profile\" is empty");
	if (error == GW_OK)
		error = gw_new_device_profile(core, new, why);
	if (error != GW_OK)
		return error;
	wants_password = password != NULL || device->user[0] != '\0';
	if (device->psk_len == 0 && (device->psk_identity[0] != '\0' || (device->subject[0] == '\0' && !wants_password)))
		gw_new_device_generate_psk(new);
	if (wants_password)
		error = gw_new_device_password(new, password, why);
	return error == GW_OK ? gw_device_complete(device, why) : error;
}

static void
emit_secrets(struct gw_call *call, const struct gw_new_device *devices, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		yyjson_mut_val *object;
		yyjson_mut_doc *doc;

		if (!devices[i].psk_made && devices[i].password[0] == '\0')
			continue;
		if ((doc = gw_call_object(&object)) == NULL)
			return;
		yyjson_mut_obj_add_strcpy(doc, object, "device", devices[i].device.id);
		gw_new_device_secrets(&devices[i], doc, object);
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
	struct gw_change change = { .kind = GW_CHANGE_ADD, .count = count, .who = call->who };
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

enum gw_error
gw_command_device_import(struct gw_call *call)
{
	yyjson_val *rows = yyjson_obj_get(call->arguments, "rows"), *row;
	size_t count = yyjson_arr_size(rows), done = 0, i, max;
	struct gw_new_device *devices;
	enum gw_error error = GW_OK;
	struct gw_why why = { "" };

	if (count == 0)
		return gw_fail(call->why, GW_E_ARGUMENT, "the list has no devices");
	if (count > DEVICES_MAX)
		return gw_fail(call->why, GW_E_TOO_LARGE, "at most %d devices at once: split the list", DEVICES_MAX);
	devices = calloc(count, sizeof(*devices));
	if (devices == NULL)
		return gw_fail(call->why, GW_E_MEMORY, "out of memory");
	yyjson_arr_foreach(rows, i, max, row) {
		error = gw_call_ending(call) ? GW_E_STOPPING : take_row(call->core, row, &devices[done++], &why);
		if (error != GW_OK) {
			(void)gw_fail(call->why, error, "line %lld: %.160s", (long long)yyjson_get_sint(yyjson_obj_get(row, "line")),
			    why.text[0] != '\0' ? why.text : gw_error_text(error));
			break;
		}
	}
	if (error == GW_OK)
		error = commit(call, devices, count);
	if (error == GW_OK) {
		emit_secrets(call, devices, count);
		emit_count(call, count);
	}
	for (i = 0; i < done; i++)
		gw_new_device_fini(&devices[i]);
	free(devices);
	return error;
}

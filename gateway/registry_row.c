// SPDX-License-Identifier: Apache-2.0
// Rows "device/<id>" of the store: JSON with a version, empty fields left out. Pure; any thread.
#include "gateway/registry_row.h"

#include <stdlib.h>
#include <yyjson.h>

// Order of the row; the list of ids has a function of its own.
static const char *const fields[] = {
	"id", "profile", "bed", "ward", "manufacturer", "model", "serial", "asset", "eui64", "mac", "cert_subject", "psk_identity", "psk",
	"user", "password_hash", "next_psk_identity", "next_psk",
};
#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

static void
add_list(const struct gw_device *device, yyjson_mut_doc *doc, yyjson_mut_val *row)
{
	yyjson_mut_val *list;

	if (device->speaks_for_count == 0)
		return;
	list = yyjson_mut_obj_add_arr(doc, row, "speaks_for");
	for (size_t i = 0; i < device->speaks_for_count; i++)
		yyjson_mut_arr_add_str(doc, list, device->speaks_for[i]);
}

char *
gw_device_row_write(const struct gw_device *device, size_t *len)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *row;
	char text[160], *out;

	if (doc == NULL)
		return NULL;
	row = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, row);
	yyjson_mut_obj_add_int(doc, row, "version", device->next_psk_len > 0 ? GW_DEVICE_ROW_VERSION : 1);
	for (size_t i = 0; i < FIELD_COUNT; i++) {
		if (gw_device_get(device, fields[i], text, sizeof(text))[0] != '\0')
			yyjson_mut_obj_add_strcpy(doc, row, fields[i], text);
	}
	if (device->test)
		yyjson_mut_obj_add_bool(doc, row, "test", true);
	if (device->disabled)
		yyjson_mut_obj_add_bool(doc, row, "disabled", true);
	if (device->psk_until_us != 0)
		yyjson_mut_obj_add_sint(doc, row, "psk_until_us", device->psk_until_us);
	if (device->psk_until_used)
		yyjson_mut_obj_add_bool(doc, row, "psk_until_used", true);
	add_list(device, doc, row);
	yyjson_mut_obj_add_sint(doc, row, "created_us", device->created_us);
	yyjson_mut_obj_add_sint(doc, row, "changed_us", device->changed_us);
	out = yyjson_mut_write(doc, 0, len);
	yyjson_mut_doc_free(doc);
	return out;
}

static enum gw_error
read_list(yyjson_val *list, struct gw_device *device, struct gw_why *why)
{
	size_t count = yyjson_arr_size(list), i, max;
	yyjson_val *item;

	if (count == 0)
		return GW_OK;
	device->speaks_for = calloc(count, sizeof(*device->speaks_for));
	if (device->speaks_for == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	yyjson_arr_foreach(list, i, max, item) {
		size_t len = yyjson_get_len(item);

		if (!yyjson_is_str(item) || len > GW_ID_MAX)
			return gw_fail(why, GW_E_CORRUPT, "a device's row has a bad list");
		memcpy(device->speaks_for[device->speaks_for_count++], yyjson_get_str(item), len);
	}
	return GW_OK;
}

static enum gw_error
read_fields(yyjson_val *row, struct gw_device *device, struct gw_why *why)
{
	enum gw_error error = GW_OK;

	for (size_t i = 0; i < FIELD_COUNT && error == GW_OK; i++) {
		yyjson_val *value = yyjson_obj_get(row, fields[i]);

		if (yyjson_is_str(value))
			error = gw_device_set(device, fields[i], gw_span(yyjson_get_str(value), yyjson_get_len(value)), why);
	}
	device->test = yyjson_get_bool(yyjson_obj_get(row, "test"));
	device->disabled = yyjson_get_bool(yyjson_obj_get(row, "disabled"));
	device->psk_until_us = yyjson_get_sint(yyjson_obj_get(row, "psk_until_us"));
	device->psk_until_used = yyjson_get_bool(yyjson_obj_get(row, "psk_until_used"));
	device->created_us = yyjson_get_sint(yyjson_obj_get(row, "created_us"));
	device->changed_us = yyjson_get_sint(yyjson_obj_get(row, "changed_us"));
	if (error == GW_OK)
		error = read_list(yyjson_obj_get(row, "speaks_for"), device, why);
	if (error == GW_OK && device->id[0] == '\0')
		error = gw_fail(why, GW_E_CORRUPT, "a device's row has no id");
	return error == GW_E_ARGUMENT ? GW_E_CORRUPT : error;
}

enum gw_error
gw_device_row_read(struct gw_span bytes, struct gw_device *device, struct gw_why *why)
{
	yyjson_doc *doc = yyjson_read((const char *)bytes.at, bytes.len, 0);
	yyjson_val *row = yyjson_doc_get_root(doc);
	enum gw_error error;

	*device = (struct gw_device){ 0 };
	if (!yyjson_is_obj(row))
		error = gw_fail(why, GW_E_CORRUPT, "a device's row is no JSON object");
	else if (yyjson_get_int(yyjson_obj_get(row, "version")) < 1 || yyjson_get_int(yyjson_obj_get(row, "version")) > GW_DEVICE_ROW_VERSION)
		error = gw_fail(why, GW_E_VERSION, "a device's row is of version %d, this program knows %d",
		    yyjson_get_int(yyjson_obj_get(row, "version")), GW_DEVICE_ROW_VERSION);
	else
		error = read_fields(row, device, why);
	yyjson_doc_free(doc);
	return error;
}

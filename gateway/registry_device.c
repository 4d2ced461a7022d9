// SPDX-License-Identifier: Apache-2.0
// One device of the registry: its fields by name, from text and to text, and what makes them valid. Pure; any thread.
#include "gateway/registry.h"

#include "gateway/utf8.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPEAKS_FOR_MAX 10000

static bool
is_control(int32_t point)
{
	return point < 0x20 || (point >= 0x7F && point < 0xA0) || (point >= 0x200B && point <= 0x200F) || (point >= 0x2028 && point <= 0x202E) ||
	    point == 0xFEFF;
}

static bool
is_space(int32_t point)
{
	return point == ' ' || point == 0xA0 || point == 0x1680 || (point >= 0x2000 && point <= 0x200A) || point == 0x202F ||
	    point == 0x205F || point == 0x3000;
}

static bool
is_printable(struct gw_span text)
{
	for (size_t at = 0; at < text.len;) {
		int32_t point = gw_utf8_next(text, &at);

		if (point < 0 || is_control(point))
			return false;
	}
	return true;
}

enum gw_error
gw_device_id_check(struct gw_span id, struct gw_why *why)
{
	if (id.len == 0 || id.len > GW_ID_MAX)
		return gw_fail(why, GW_E_ARGUMENT, "a device's id has 1 to %d bytes", GW_ID_MAX);
	for (size_t at = 0; at < id.len;) {
		int32_t point = gw_utf8_next(id, &at);

		if (point < 0 || is_control(point))
			return gw_fail(why, GW_E_ARGUMENT, "a device's id is printable UTF-8");
		if (is_space(point))
			return gw_fail(why, GW_E_ARGUMENT, "a device's id has no white space: \"%.*s\"", GW_SPAN_FMT(id));
		if (point == '/' || point == '+' || point == '#' || point == ',')
			return gw_fail(why, GW_E_ARGUMENT, "a device's id has no '%c': \"%.*s\"", (char)point, GW_SPAN_FMT(id));
	}
	return GW_OK;
}

// ---- Fields. Texts have a row each; the others a function each. ----

#define TEXT_ROW(name, member) { name, offsetof(struct gw_device, member), sizeof(((struct gw_device *)0)->member) }
static const struct text_field {
	const char *name;
	size_t offset, size;
} text_fields[] = {
	TEXT_ROW("profile", profile), TEXT_ROW("bed", bed), TEXT_ROW("ward", ward), TEXT_ROW("manufacturer", manufacturer),
	TEXT_ROW("model", model), TEXT_ROW("serial", serial), TEXT_ROW("asset", asset), TEXT_ROW("psk_identity", psk_identity),
	TEXT_ROW("next_psk_identity", next_identity),
	TEXT_ROW("cert_subject", subject), TEXT_ROW("user", user), TEXT_ROW("password_hash", password_hash),
};

static const struct text_field *
text_field_of(const char *name)
{
	for (size_t i = 0; i < sizeof(text_fields) / sizeof(text_fields[0]); i++) {
		if (strcmp(text_fields[i].name, name) == 0)
			return &text_fields[i];
	}
	return NULL;
}

static enum gw_error
set_text(char *at, size_t size, const char *field, struct gw_span value, struct gw_why *why)
{
	if (value.len >= size)
		return gw_fail(why, GW_E_ARGUMENT, "%s has at most %zu bytes", field, size - 1);
	if (!is_printable(value))
		return gw_fail(why, GW_E_ARGUMENT, "%s is not printable UTF-8", field);
	if (value.len > 0)
		memcpy(at, value.at, value.len);
	memset(at + value.len, 0, size - value.len);
	return GW_OK;
}

static enum gw_error
set_id(struct gw_device *device, struct gw_span value, struct gw_why *why)
{
	enum gw_error error = gw_device_id_check(value, why);

	return error != GW_OK ? error : set_text(device->id, sizeof(device->id), "id", value, why);
}

// Hex digits with the separators that people write; exactly `size` bytes, or up to it where `least` is smaller. Returns the bytes, 0 for none.
static size_t
hex(struct gw_span value, const char *ignore, uint8_t *out, size_t least, size_t size)
{
	size_t len;

	if (sodium_hex2bin(out, size, (const char *)value.at, value.len, ignore, &len, NULL) != 0 || len < least)
		return 0;
	return len;
}

static enum gw_error
set_eui64(struct gw_device *device, struct gw_span value, struct gw_why *why)
{
	uint8_t bytes[8];
	uint64_t eui = 0;

	device->eui64 = 0;
	if (value.len == 0)
		return GW_OK;
	if (hex(value, ":-", bytes, 8, 8) != 8)
		return gw_fail(why, GW_E_ARGUMENT, "eui64 is 16 hex digits, not \"%.*s\"", (int)(value.len < 40 ? value.len : 40), (const char *)value.at);
	for (size_t i = 0; i < 8; i++)
		eui = eui << 8 | bytes[i];
	device->eui64 = eui;
	return GW_OK;
}

static enum gw_error
set_mac(struct gw_device *device, struct gw_span value, struct gw_why *why)
{
	device->has_mac = false;
	if (value.len == 0)
		return GW_OK;
	if (hex(value, ":-.", device->mac, 6, 6) != 6)
		return gw_fail(why, GW_E_ARGUMENT, "mac is 12 hex digits such as 00:11:22:33:44:55, not \"%.*s\"",
		    (int)(value.len < 40 ? value.len : 40), (const char *)value.at);
	device->has_mac = true;
	return GW_OK;
}

static enum gw_error
set_psk(uint8_t psk[GW_PSK_MAX], uint8_t *len, struct gw_span value, struct gw_why *why)
{
	sodium_memzero(psk, GW_PSK_MAX);
	*len = 0;
	if (value.len == 0)
		return GW_OK;
	*len = (uint8_t)hex(value, NULL, psk, 8, GW_PSK_MAX);
	if (*len == 0)
		return gw_fail(why, GW_E_ARGUMENT, "psk is 16 to %d hex digits (8 to %d bytes)", GW_PSK_MAX * 2, GW_PSK_MAX);
	return GW_OK;
}

static enum gw_error
set_flag(bool *at, const char *field, struct gw_span value, struct gw_why *why)
{
	*at = gw_span_is(value, "true") || gw_span_is(value, "1") || gw_span_is(value, "yes");
	if (*at || value.len == 0 || gw_span_is(value, "false") || gw_span_is(value, "0") || gw_span_is(value, "no"))
		return GW_OK;
	return gw_fail(why, GW_E_ARGUMENT, "%s is true or false", field);
}

// The part of a list before its next comma; takes it off the list.
static struct gw_span
list_next(struct gw_span *list)
{
	const uint8_t *comma = list->len > 0 ? memchr(list->at, ',', list->len) : NULL;
	struct gw_span part = gw_span(list->at, comma != NULL ? (size_t)(comma - list->at) : list->len);
	size_t taken = part.len + (comma != NULL);

	list->at += taken;
	list->len -= taken;
	while (part.len > 0 && part.at[0] == ' ') {
		part.at++;
		part.len--;
	}
	while (part.len > 0 && part.at[part.len - 1] == ' ')
		part.len--;
	return part;
}

static enum gw_error
set_speaks_for(struct gw_device *device, struct gw_span value, struct gw_why *why)
{
	size_t most = 1;
	enum gw_error error;

	free(device->speaks_for);
	device->speaks_for = NULL;
	device->speaks_for_count = 0;
	if (value.len == 0)
		return GW_OK;
	for (size_t i = 0; i < value.len; i++)
		most += value.at[i] == ',';
	if (most > SPEAKS_FOR_MAX)
		return gw_fail(why, GW_E_ARGUMENT, "speaks_for lists at most %d devices", SPEAKS_FOR_MAX);
	device->speaks_for = calloc(most, sizeof(*device->speaks_for));
	if (device->speaks_for == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	while (value.len > 0) {
		struct gw_span id = list_next(&value);

		if ((error = gw_device_id_check(id, why)) != GW_OK)
			return error;
		memcpy(device->speaks_for[device->speaks_for_count++], id.at, id.len);
	}
	return GW_OK;
}

enum gw_error
gw_device_set(struct gw_device *device, const char *field, struct gw_span value, struct gw_why *why)
{
	const struct text_field *text = text_field_of(field);

	if (text != NULL)
		return set_text((char *)device + text->offset, text->size, field, value, why);
	if (strcmp(field, "id") == 0)
		return set_id(device, value, why);
	if (strcmp(field, "eui64") == 0)
		return set_eui64(device, value, why);
	if (strcmp(field, "mac") == 0)
		return set_mac(device, value, why);
	if (strcmp(field, "psk") == 0)
		return set_psk(device->psk, &device->psk_len, value, why);
	if (strcmp(field, "next_psk") == 0)
		return set_psk(device->next_psk, &device->next_psk_len, value, why);
	if (strcmp(field, "speaks_for") == 0)
		return set_speaks_for(device, value, why);
	if (strcmp(field, "test") == 0)
		return set_flag(&device->test, field, value, why);
	if (strcmp(field, "disabled") == 0)
		return set_flag(&device->disabled, field, value, why);
	return gw_fail(why, GW_E_NOT_FOUND, "a device has no field \"%.60s\"", field);
}

static void
get_speaks_for(const struct gw_device *device, char *out, size_t cap)
{
	size_t len = 0;

	for (size_t i = 0; i < device->speaks_for_count; i++) {
		int put = snprintf(out + len, cap - len, "%s%s", i > 0 ? "," : "", device->speaks_for[i]);

		if (put < 0 || (size_t)put >= cap - len)
			return;
		len += (size_t)put;
	}
}

const char *
gw_device_get(const struct gw_device *device, const char *field, char *out, size_t cap)
{
	const struct text_field *text = text_field_of(field);

	out[0] = '\0';
	if (text != NULL)
		snprintf(out, cap, "%s", (const char *)device + text->offset);
	else if (strcmp(field, "id") == 0)
		snprintf(out, cap, "%s", device->id);
	else if (strcmp(field, "eui64") == 0 && device->eui64 != 0)
		snprintf(out, cap, "%016llx", (unsigned long long)device->eui64);
	else if (strcmp(field, "mac") == 0 && device->has_mac)
		snprintf(out, cap, "%02x:%02x:%02x:%02x:%02x:%02x", device->mac[0], device->mac[1], device->mac[2], device->mac[3],
		    device->mac[4], device->mac[5]);
	else if (strcmp(field, "psk") == 0 && device->psk_len > 0 && cap > device->psk_len * 2u)
		sodium_bin2hex(out, cap, device->psk, device->psk_len);
	else if (strcmp(field, "next_psk") == 0 && device->next_psk_len > 0 && cap > device->next_psk_len * 2u)
		sodium_bin2hex(out, cap, device->next_psk, device->next_psk_len);
	else if (strcmp(field, "speaks_for") == 0)
		get_speaks_for(device, out, cap);
	else if (strcmp(field, "test") == 0)
		snprintf(out, cap, "%s", device->test ? "true" : "false");
	else if (strcmp(field, "disabled") == 0)
		snprintf(out, cap, "%s", device->disabled ? "true" : "false");
	return out;
}

enum gw_error
gw_device_complete(struct gw_device *device, struct gw_why *why)
{
	enum gw_error error = gw_device_id_check(gw_span_text(device->id), why);

	if (error != GW_OK)
		return error;
	if (device->psk_len > 0 && device->psk_identity[0] == '\0')
		memcpy(device->psk_identity, device->id, sizeof(device->id));
	if (device->password_hash[0] != '\0' && device->user[0] == '\0')
		memcpy(device->user, device->id, sizeof(device->id));
	if (device->psk_len == 0 && device->psk_identity[0] != '\0')
		return gw_fail(why, GW_E_ARGUMENT, "%s has a PSK identity but no key", device->id);
	if ((device->next_psk_len > 0) != (device->next_identity[0] != '\0') || (device->next_psk_len > 0 && device->psk_len == 0))
		return gw_fail(why, GW_E_ARGUMENT, "%s has half a rotation of its key", device->id);
	if (device->next_psk_len > 0 && strcmp(device->next_identity, device->psk_identity) == 0)
		return gw_fail(why, GW_E_ARGUMENT, "the new key of %s needs an identity of its own", device->id);
	if (device->password_hash[0] == '\0' && device->user[0] != '\0')
		return gw_fail(why, GW_E_ARGUMENT, "%s has a user but no password", device->id);
	for (size_t i = 0; i < device->speaks_for_count; i++) {
		if (strcmp(device->speaks_for[i], device->id) == 0)
			return gw_fail(why, GW_E_ARGUMENT, "%s speaks for itself already", device->id);
	}
	return GW_OK;
}

void
gw_device_fini(struct gw_device *device)
{
	if (device == NULL)
		return;
	free(device->speaks_for);
	device->speaks_for = NULL;
	device->speaks_for_count = 0;
	sodium_memzero(device->psk, sizeof(device->psk));
	sodium_memzero(device->next_psk, sizeof(device->next_psk));
	sodium_memzero(device->password_hash, sizeof(device->password_hash));
}

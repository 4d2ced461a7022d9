// SPDX-License-Identifier: Apache-2.0
// Payload templates: rendered once per connection, then only the fields that differ from message to
// message are written, each with a fixed width, so that no length in the packet ever changes.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

enum kind { SEQ, MS, S, MMM, VALUE, F64, U32_SEQ, U16_VALUE, U8_VALUE };

static const struct field {
	const char *name;
	uint8_t kind, width;
	bool hex;
} fields[] = {
	{ "{seq}",   SEQ,       8,  false },      // 10000000 and up
	{ "{ms}",    MS,        13, false },      // milliseconds since 1970
	{ "{s}",     S,         10, false },      // whole seconds since 1970
	{ "{mmm}",   MMM,       3,  false },      // and their milliseconds
	{ "{value}", VALUE,     4,  false },      // 90.0 to 99.9
	{ "{f64}",   F64,       8,  true  },      // seconds since 1970, IEEE 754 double
	{ "{u32}",   U32_SEQ,   4,  true  },      // the sequence number
	{ "{u16}",   U16_VALUE, 2,  true  },      // 900 to 999
	{ "{u8}",    U8_VALUE,  1,  true  },      // 60 to 159
};

bool
load_template_read(struct load_template *t, const char *path)
{
	size_t length = strlen(path);
	FILE *f = fopen(path, "rb");

	if (f == NULL) {
		perror(path);
		return false;
	}
	t->hex = length > 4 && strcmp(path + length - 4, ".hex") == 0;
	t->text = malloc(LOAD_TEXT_MAX + 1);
	t->size = t->text ? fread(t->text, 1, LOAD_TEXT_MAX, f) : 0;
	fclose(f);
	while (t->size > 0 && isspace((unsigned char)t->text[t->size - 1]))
		t->size--;
	if (t->text != NULL)
		t->text[t->size] = 0;
	return t->size > 0;
}

bool
load_text_render(char *to, size_t room, const char *text, const char *device)
{
	static const char field[] = "{device}";
	const char *at = strstr(text, field);

	if (at == NULL)
		return (size_t)snprintf(to, room, "%s", text) < room;
	return (size_t)snprintf(to, room, "%.*s%s%s", (int)(at - text), text, device,
	                        at + sizeof field - 1) < room;
}

static const struct field *
field_at(const char *text, bool hex)
{
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
		if (fields[i].hex == hex && strncmp(text, fields[i].name, strlen(fields[i].name)) == 0)
			return &fields[i];
	return NULL;
}

// A CBOR text string: head and bytes. Names here are shorter than 256.
static size_t
put_cbor_text(uint8_t *to, const char *text)
{
	size_t n = strlen(text), head = 1;

	if (n < 24) {
		to[0] = (uint8_t)(0x60 | n);
	} else {
		to[0] = 0x78;
		to[1] = (uint8_t)n;
		head = 2;
	}
	memcpy(to + head, text, n);
	return head + n;
}

static size_t
put_device(bool hex, uint8_t *to, const char *device)
{
	if (hex)
		return put_cbor_text(to, device);
	size_t n = strlen(device);
	memcpy(to, device, n);
	return n;
}

static int
hex_byte(const char *text)
{
	char two[3] = { text[0], text[1], 0 };

	if (!isxdigit((unsigned char)two[0]) || !isxdigit((unsigned char)two[1]))
		return -1;
	return (int)strtol(two, NULL, 16);
}

// A constant byte of the template; advances `at`. -1: nothing to write (space, comment), -2: bad.
static int
constant(const struct load_template *t, size_t *at)
{
	if (!t->hex)
		return (unsigned char)t->text[(*at)++];
	if (isspace((unsigned char)t->text[*at])) {
		(*at)++;
		return -1;
	}
	if (t->text[*at] == '#') {
		while (*at < t->size && t->text[*at] != '\n')
			(*at)++;
		return -1;
	}
	int byte = hex_byte(t->text + *at);
	*at += 2;
	return byte < 0 ? -2 : byte;
}

size_t
load_template_render(const struct load_template *t, const char *device, uint8_t *to, size_t used,
                     size_t room, struct load_frame *f)
{
	static const char name[] = "{device}";

	for (size_t at = 0; at < t->size; ) {
		const struct field *field = field_at(t->text + at, t->hex);
		if (used + LOAD_NAME_MAX + 2 > room)
			return 0;
		if (field != NULL) {
			if (f->patches == LOAD_PATCHES_MAX)
				return 0;
			f->patch[f->patches++] = (struct load_patch){ (uint32_t)used, field->kind };
			used += field->width;
			at += strlen(field->name);
		} else if (strncmp(t->text + at, name, sizeof name - 1) == 0) {
			used += put_device(t->hex, to + used, device);
			at += sizeof name - 1;
		} else {
			int byte = constant(t, &at);
			if (byte == -2)
				return 0;
			if (byte >= 0)
				to[used++] = (uint8_t)byte;
		}
	}
	return used;
}

static void
put_digits(uint8_t *to, unsigned width, uint64_t number)
{
	while (width-- > 0) {
		to[width] = (uint8_t)('0' + number % 10);
		number /= 10;
	}
}

static void
put_big_endian(uint8_t *to, unsigned width, uint64_t number)
{
	while (width-- > 0) {
		to[width] = (uint8_t)number;
		number >>= 8;
	}
}

static void
put_value(uint8_t *to, unsigned tenths)
{
	to[0] = '9';
	to[1] = (uint8_t)('0' + tenths / 10);
	to[2] = '.';
	to[3] = (uint8_t)('0' + tenths % 10);
}

static void
put_double(uint8_t *to, double seconds)
{
	uint64_t bits;

	memcpy(&bits, &seconds, sizeof bits);
	put_big_endian(to, 8, bits);
}

void
load_frame_stamp(const struct load_frame *f, uint8_t *bytes, uint64_t seq, uint64_t ms)
{
	for (unsigned i = 0; i < f->patches; i++) {
		uint8_t *to = bytes + f->patch[i].at;
		switch ((enum kind)f->patch[i].kind) {
		case SEQ:       put_digits(to, 8, 10000000 + seq % 90000000); break;
		case MS:        put_digits(to, 13, ms); break;
		case S:         put_digits(to, 10, ms / 1000); break;
		case MMM:       put_digits(to, 3, ms % 1000); break;
		case VALUE:     put_value(to, (unsigned)(seq % 100)); break;
		case F64:       put_double(to, (double)ms / 1000.0); break;
		case U32_SEQ:   put_big_endian(to, 4, seq); break;
		case U16_VALUE: put_big_endian(to, 2, 900 + seq % 100); break;
		case U8_VALUE:  put_big_endian(to, 1, 60 + seq % 100); break;
		}
	}
}

// SPDX-License-Identifier: Apache-2.0
// QR codes, on libqrencode; the pictures are our own. No state; any thread.
#include "adapters/pki/qr.h"

#include "gateway/bytes.h"

#include <qrencode.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define QUIET 4  // modules of white around it: the standard's quiet zone
#define SCALE 8  // pixels of a module

static QRcode *
encode(const char *text, struct gw_why *why)
{
	QRcode *code = QRcode_encodeString8bit(text, 0, QR_ECLEVEL_M);

	if (code == NULL)
		(void)gw_fail(why, GW_E_TOO_LARGE, "too much for a QR code");
	return code;
}

static bool
dark(const QRcode *code, int x, int y)
{
	return x >= 0 && y >= 0 && x < code->width && y < code->width && (code->data[y * code->width + x] & 1) != 0;
}

static enum gw_error
finish(FILE *file, struct gw_pki_text *out, struct gw_why *why)
{
	if (fclose(file) == 0 && out->at != NULL)
		return GW_OK;
	free(out->at);
	*out = (struct gw_pki_text){ NULL, 0 };
	return gw_fail(why, GW_E_MEMORY, "out of memory");
}

// ---- Terminal ----

// Light is drawn, dark is left out: right on a dark terminal; with colours right on any.
static void
draw_line(FILE *file, const QRcode *code, int y, bool colour)
{
	static const char *const drawn[] = { "\u2588", "\u2584", "\u2580", " " }; // both light, lower light, upper light, both dark
	static const char *const inked[] = { " ", "\u2580", "\u2584", "\u2588" };

	fputs(colour ? "\x1b[30;107m" : "", file);
	for (int x = -QUIET; x < code->width + QUIET; x++)
		fputs((colour ? inked : drawn)[(dark(code, x, y) ? 1 : 0) + (dark(code, x, y + 1) ? 2 : 0)], file);
	fputs(colour ? "\x1b[0m\n" : "\n", file);
}

enum gw_error
gw_qr_terminal(const char *text, bool colour, struct gw_pki_text *out, struct gw_why *why)
{
	QRcode *code = encode(text, why);
	FILE *file = code != NULL ? open_memstream(&out->at, &out->len) : NULL;

	if (file == NULL) {
		QRcode_free(code);
		return code == NULL ? GW_E_TOO_LARGE : gw_fail(why, GW_E_MEMORY, "out of memory");
	}
	for (int y = -QUIET; y < code->width + QUIET; y += 2)
		draw_line(file, code, y, colour);
	QRcode_free(code);
	return finish(file, out, why);
}

// ---- SVG ----

enum gw_error
gw_qr_svg(const char *text, struct gw_pki_text *out, struct gw_why *why)
{
	QRcode *code = encode(text, why);
	FILE *file = code != NULL ? open_memstream(&out->at, &out->len) : NULL;
	int size;

	if (file == NULL) {
		QRcode_free(code);
		return code == NULL ? GW_E_TOO_LARGE : gw_fail(why, GW_E_MEMORY, "out of memory");
	}
	size = code->width + 2 * QUIET;
	fprintf(file, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" shape-rendering=\"crispEdges\">"
	    "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/><path d=\"", size * SCALE, size * SCALE, size, size, size, size);
	for (int y = 0; y < code->width; y++) {
		for (int x = 0, run; x < code->width; x += run > 0 ? run : 1) {
			for (run = 0; dark(code, x + run, y); run++)
				;
			if (run > 0)
				fprintf(file, "M%d %dh%dv1h-%dz", x + QUIET, y + QUIET, run, run);
		}
	}
	fputs("\" fill=\"#000\"/></svg>\n", file);
	QRcode_free(code);
	return finish(file, out, why);
}

// ---- PNG: one bit a pixel (ISO/IEC 15948) ----

static void
put_chunk(FILE *file, const char *type, const uint8_t *bytes, size_t len)
{
	uint8_t number[4];
	uLong sum = crc32(crc32(0, (const uint8_t *)type, 4), bytes != NULL ? bytes : (const uint8_t *)"", (uInt)len);

	for (int i = 0; i < 4; i++)
		number[i] = (uint8_t)(len >> (24 - 8 * i));
	fwrite(number, 1, 4, file);
	fwrite(type, 1, 4, file);
	fwrite(bytes, 1, len, file);
	for (int i = 0; i < 4; i++)
		number[i] = (uint8_t)(sum >> (24 - 8 * i));
	fwrite(number, 1, 4, file);
}

// Rows, each behind its filter byte 0; 1 is white.
static uint8_t *
pixels(const QRcode *code, size_t side, size_t row)
{
	uint8_t *at = calloc(side, row);

	for (size_t y = 0; at != NULL && y < side; y++)
		for (size_t x = 0; x < side; x++)
			if (!dark(code, (int)(x / SCALE) - QUIET, (int)(y / SCALE) - QUIET))
				at[y * row + 1 + x / 8] |= (uint8_t)(0x80 >> (x % 8));
	return at;
}

enum gw_error
gw_qr_png(const char *text, struct gw_pki_text *out, struct gw_why *why)
{
	static const uint8_t magic[] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n' };
	QRcode *code = encode(text, why);
	size_t side = code != NULL ? (size_t)(code->width + 2 * QUIET) * SCALE : 0, row = 1 + (side + 7) / 8;
	uint8_t *raw = code != NULL ? pixels(code, side, row) : NULL, *packed = NULL;
	uint8_t head[13] = { 0, 0, (uint8_t)(side >> 8), (uint8_t)side, 0, 0, (uint8_t)(side >> 8), (uint8_t)side, 1, 0, 0, 0, 0 };
	uLongf len = compressBound((uLong)(row * side));
	enum gw_error error = GW_E_MEMORY;
	FILE *file;

	QRcode_free(code);
	if (code == NULL)
		return GW_E_TOO_LARGE;
	if (raw != NULL && (packed = malloc(len)) != NULL && compress2(packed, &len, raw, (uLong)(row * side), 9) == Z_OK &&
	    (file = open_memstream(&out->at, &out->len)) != NULL) {
		fwrite(magic, 1, sizeof(magic), file);
		put_chunk(file, "IHDR", head, sizeof(head));
		put_chunk(file, "IDAT", packed, len);
		put_chunk(file, "IEND", head, 0);
		error = finish(file, out, why);
	} else
		(void)gw_fail(why, error, "out of memory");
	free(raw);
	free(packed);
	return error;
}

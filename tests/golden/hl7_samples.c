// SPDX-License-Identifier: Apache-2.0
// Sample messages of other people's, as they are published, and what they mean: for each FILE of a FOLDER named in tests/golden/hl7-samples.txt its meaning is
// compared with what stands there. The messages themselves are not ours to hand on; who has the folder says so: VITALGATE_HL7_SAMPLES=FOLDER ./test.
// Acknowledgements are read as the sender of results reads them.
#include "adapters/hl7/ack.h"
#include "hl7_meaning.h"

#include <stdlib.h>
#include <string.h>

#define NOW INT64_C(1795162500000000) // 2026-11-20T08:15:00Z
#define BYTES_MAX 65536

static size_t
read_file(const char *path, char *out, size_t cap)
{
	FILE *file = fopen(path, "r");
	size_t len;

	if (file == NULL)
		return 0;
	len = fread(out, 1, cap - 1, file);
	fclose(file);
	out[len] = '\0';
	return len;
}

static void
acknowledgement(struct gw_span message, struct gw_hl7_out *out)
{
	static const char *const words[] = { "malformed", "accepted", "error", "rejected" };
	struct gw_hl7_ack ack;

	gw_hl7_ack_parse(message, &ack);
	if (ack.code[0] != '\0')
		gw_hl7_putf(out, "acknowledgement %s %s of %.*s\n", ack.code, words[ack.answer], GW_SPAN_FMT(ack.control_id));
}

static void
describe(struct gw_span message, struct gw_hl7_out *out)
{
	static struct gw_hl7_mapping mapping;
	static struct gw_hl7_meaning meaning;
	struct gw_zone *zone = NULL;
	struct gw_why why = { "" };
	struct gw_hl7_in in = { 0 };
	struct gw_hl7_out encoded = { 0 };

	gw_hl7_mapping_init(&mapping);
	if (gw_hl7_mapping_set(&mapping, "processing", gw_span_text("PTD"), &why) != GW_OK ||
	    gw_hl7_mapping_set(&mapping, "services", gw_span_text("38067^L"), &why) != GW_OK || gw_zone_open("Europe/Berlin", &zone, &why) != GW_OK) {
		gw_hl7_putf(out, "%s\n", why.text);
		return;
	}
	acknowledgement(message, out);
	if (gw_hl7_parse(&in, message, gw_hl7_charset_utf8(), &why) == GW_OK && !gw_hl7_charset_is_utf8(in.charset) && gw_hl7_charset_writes(in.charset)) {
		gw_hl7_charset_put(&encoded, in.charset, message, '\\'); // the files are UTF-8, whatever they say
		message = gw_span(encoded.at, encoded.len);
	}
	if (gw_hl7_parse(&in, message, gw_hl7_charset_utf8(), &why) == GW_OK) {
		const struct gw_hl7_context context = { .mapping = &mapping, .zone = zone, .received_us = NOW, .find_device = find_device };

		gw_hl7_interpret(&in, &context, &meaning);
		meaning_text(&meaning, out);
	} else {
		gw_hl7_putf(out, "%s\n", why.text);
	}
	gw_hl7_in_fini(&in);
	gw_hl7_out_fini(&encoded);
	gw_zone_free(zone);
}

// "== FILE", then its meaning, up to the next.
int
main(int argc, char **argv)
{
	static char expected[BYTES_MAX], message[BYTES_MAX];
	int wrong = 0, count = 0;

	if (argc != 3 || read_file(argv[2], expected, sizeof(expected)) == 0) {
		fprintf(stderr, "usage: hl7_samples FOLDER hl7-samples.txt\n");
		return 2;
	}
	for (char *at = strstr(expected, "== "), *next; at != NULL; at = next, count++) {
		char path[4096];
		char *end = strchr(at, '\n');
		struct gw_hl7_out found = { 0 };
		size_t len;

		next = strstr(end, "\n== ");
		len = next != NULL ? (size_t)(++next - end - 1) : strlen(end + 1);
		snprintf(path, sizeof(path), "%s/%.*s", argv[1], (int)(end - at - 3), at + 3);
		size_t message_len = read_file(path, message, sizeof(message));
		describe(gw_span(message, message_len), &found);
		if (found.len != len || memcmp(found.at, end + 1, len) != 0) {
			printf("== %s means\n%.*s", path, (int)found.len, (const char *)found.at);
			wrong++;
		}
		gw_hl7_out_fini(&found);
	}
	printf("%d samples, %d mean something else\n", count, wrong);
	return wrong > 0 || count == 0;
}

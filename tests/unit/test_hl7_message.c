// SPDX-License-Identifier: Apache-2.0
// Reading messages: separators, segment ends, escapes, character sets, paths, times, limits; and that whatever is written is read back as it was.
#include "adapters/hl7/dtm.h"
#include "adapters/hl7/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define MSH "MSH|^~\\&|A|F|V|F|20261120||ADT^A01|1|P|2.5"

static struct gw_hl7_in in;

static enum gw_error
read_text(const char *message)
{
	return gw_hl7_parse(&in, gw_span_text(message), NULL, NULL);
}

static const char *
at(const char *path)
{
	static char text[4][512];
	static unsigned next;
	char *out = text[next++ % 4];
	struct gw_hl7_path parsed;
	struct gw_span found;

	assert_int_equal(gw_hl7_path_parse(gw_span_text(path), &parsed, NULL), GW_OK);
	found = gw_hl7_text(&in, gw_hl7_get(&in, &parsed, gw_hl7_whole(&in)));
	snprintf(out, 512, "%.*s", GW_SPAN_FMT(found));
	return out;
}

// ---- Structure ----

static void
test_segment_ends(void **state)
{
	static const char *const messages[] = {
		MSH "\rPID|||7\rPV1||I\r", MSH "\rPID|||7\rPV1||I", MSH "\nPID|||7\nPV1||I\n", MSH "\r\nPID|||7\r\nPV1||I\r\n", "\r\n " MSH "\r\rPID|||7\r\r\rPV1||I",
		"\xef\xbb\xbf" MSH "\n\nPID|||7\nPV1||I", MSH "\r\n\nPID|||7\r\nPV1||I",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		assert_int_equal(read_text(messages[i]), GW_OK);
		assert_int_equal(in.segment_count, 3);
		assert_string_equal(at("PID-3"), "7");
		assert_string_equal(at("PV1-2"), "I");
		assert_string_equal(at("MSH-12"), "2.5");
	}
}

// A line feed inside text begins no segment where segments end in CR.
static void
test_no_segment_out_of_text(void **state)
{
	(void)state;
	assert_int_equal(read_text(MSH "\rNTE|1||see\nPID|||8\rPID|||7\r"), GW_OK);
	assert_string_equal(at("PID-3"), "7");
	assert_string_equal(at("NTE-3"), "see\nPID");
}

static void
test_fields(void **state)
{
	(void)state;
	assert_int_equal(read_text(MSH "\rPID|1||a^b&c^d~e^^\"\"~|\"\"||\rZZ9|x\rno segment\rP|x"), GW_OK);
	assert_int_equal(in.segment_count, 5);
	assert_string_equal(at("MSH-1"), "|");
	assert_string_equal(at("MSH-2"), "^~\\&");
	assert_string_equal(at("MSH-9.2"), "A01");
	assert_string_equal(at("PID-3"), "a^b&c^d");
	assert_string_equal(at("PID-3.2"), "b&c");
	assert_string_equal(at("PID-3.2.2"), "c");
	assert_string_equal(at("PID-3.1.1"), "a");
	assert_string_equal(at("PID-3.1.2"), "");
	assert_string_equal(at("PID-3[2].1"), "e");
	assert_string_equal(at("PID-3[2].3"), "\"\"");
	assert_string_equal(at("PID-3[3]"), "");
	assert_string_equal(at("PID-3[4]"), "");
	assert_string_equal(at("ZZ9-1"), "x");
	assert_string_equal(at("PV1-3"), "");
	assert_string_equal(at("PID-200"), "");
	assert_true(gw_hl7_is_null(gw_hl7_field(&in, 1, 4)));
	assert_int_equal(gw_hl7_field(&in, 1, 5).len, 0);
	assert_non_null(gw_hl7_field(&in, 1, 6).at); // there, and empty
	assert_null(gw_hl7_field(&in, 1, 7).at);     // not there
	assert_int_equal(in.segments[3].name, 0);
}

static void
test_separators(void **state)
{
	(void)state;
	assert_int_equal(read_text("MSH#*!?%#A*B#\rPID###7%8*x!9?F?"), GW_OK);
	assert_string_equal(at("PID-3.1.2"), "8");
	assert_string_equal(at("PID-3.2"), "x");
	assert_string_equal(at("PID-3[2]"), "9#");
	assert_int_equal(read_text("MSH|^~|A\rPID|||7\\F\\8&9"), GW_OK); // no escape character, no subcomponents
	assert_string_equal(at("PID-3.1.1"), "7\\F\\8&9");
	assert_int_equal(read_text("MSH|^~\\&#|A\rPID|||\\P\\1"), GW_OK);
	assert_string_equal(at("PID-3"), "#1");
	assert_int_equal(read_text("MSH|"), GW_OK);
	assert_string_equal(at("MSH-9"), "");
}

static const struct { const char *message; enum gw_error error; const char *words; } bad[] = {
	{ "", GW_E_FORMAT, "does not begin with MSH" },
	{ "GET / HTTP/1.1\r\n", GW_E_FORMAT, "does not begin with MSH" },
	{ "MSH", GW_E_FORMAT, "does not begin with MSH" },
	{ "PID|||7\r" MSH, GW_E_FORMAT, "does not begin with MSH" },
	{ "MSHA^~\\&A", GW_E_FORMAT, "MSH-1" },
	{ "MSH|^^\\&|A", GW_E_FORMAT, "MSH-2" },
	{ "MSH|^~\\A|A", GW_E_FORMAT, "MSH-2" },
	{ "MSH|^~\\&#!|A", GW_E_FORMAT, "MSH-2" },
	{ MSH "\rPID|||7\r" MSH "\r", GW_E_FORMAT, "a second MSH, as segment 3" },
};

static void
test_not_hl7(void **state)
{
	struct gw_why why;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(gw_hl7_parse(&in, gw_span_text(bad[i].message), NULL, &why), bad[i].error);
		if (strstr(why.text, bad[i].words) == NULL)
			fail_msg("\"%s\" without \"%s\"", why.text, bad[i].words);
	}
	assert_int_equal(gw_hl7_parse(&in, gw_span(MSH "\rPID|||7\0008", sizeof(MSH "\rPID|||7\0008") - 1), NULL, &why), GW_E_FORMAT);
}

static char *
filled(const char *head, const char *unit, size_t times)
{
	size_t len = strlen(head), each = strlen(unit);
	char *text = malloc(len + times * each + 1);

	assert_non_null(text);
	memcpy(text, head, len);
	for (size_t i = 0; i < times; i++)
		memcpy(text + len + i * each, unit, each);
	text[len + times * each] = '\0';
	return text;
}

static void
test_limits(void **state)
{
	const struct { const char *unit; size_t times; enum gw_error error; } rows[] = {
		{ "NTE|1\r", GW_HL7_SEGMENTS_MAX - 1, GW_OK },
		{ "NTE|1\r", GW_HL7_SEGMENTS_MAX, GW_E_TOO_LARGE },
		{ "|", GW_HL7_FIELDS_MAX - 20, GW_OK },
		{ "|", GW_HL7_FIELDS_MAX, GW_E_TOO_LARGE },
		{ "x", GW_HL7_IN_MAX - sizeof(MSH), GW_OK },
		{ "x", GW_HL7_IN_MAX, GW_E_TOO_LARGE },
		{ "\xfc", GW_HL7_IN_MAX - sizeof(MSH), GW_OK },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = filled(MSH "\r", rows[i].unit, rows[i].times);

		assert_int_equal(read_text(text), rows[i].error);
		assert_true(in.segment_count <= GW_HL7_SEGMENTS_MAX && in.start_cap <= 2 * GW_HL7_FIELDS_MAX);
		free(text);
	}
}

// Escaped text beyond its limit is left as it stands, and says so.
static void
test_text_limit(void **state)
{
	char *text = filled(MSH "\rNTE|1||", "\\F\\", 100000);

	(void)state;
	assert_int_equal(read_text(text), GW_OK);
	assert_int_equal(gw_hl7_text(&in, gw_hl7_field(&in, 1, 3)).len, 300000);
	assert_true(in.text_full);
	free(text);
	assert_int_equal(read_text(MSH "\rNTE|1||\\F\\"), GW_OK);
	assert_false(in.text_full);
	assert_string_equal(at("NTE-3"), "|");
}

// ---- Escapes and character sets ----

static const struct { const char *raw, *text; } escapes[] = {
	{ "a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f", "a|b^c&d~e\\f" },
	{ "\\X41\\\\X0D0A\\", "A\r\n" },
	{ "\\X000d\\", "\r" },
	{ "\\XE9\\", "é" },         // a byte of the message's set, which is 8859/1 here
	{ "\\XC581\\uk", "Łuk" },   // UTF-8, as gw_hl7_charset_put() writes it
	{ "\\XC3\\", "Ã" },
	{ "one\\.br\\two\\.sp\\three", "one\ntwo\nthree" },
	{ "\\H\\loud\\N\\", "loud" },
	{ "\\.in+4\\\\C2842\\\\M244142\\\\Z1\\", "\\.in+4\\\\C2842\\\\M244142\\\\Z1\\" },
	{ "C:\\temp\\F\\x", "C:\\temp|x" },
	{ "\\", "\\" }, { "a\\", "a\\" }, { "\\F", "\\F" }, { "\\\\", "\\\\" }, { "\\XZZ\\", "\\XZZ\\" }, { "\\X4\\", "\\X4\\" }, { "\\X\\", "\\X\\" },
	{ "\\Q\\", "\\Q\\" }, { "\\\\F\\", "\\|" },
};

static void
test_escapes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(escapes) / sizeof(escapes[0]); i++) {
		char message[256];

		snprintf(message, sizeof(message), MSH "||||||8859/1\rNTE|1||%s\r", escapes[i].raw);
		assert_int_equal(read_text(message), GW_OK);
		assert_string_equal(at("NTE-3"), escapes[i].text);
	}
}

static const struct { const char *charset, *bytes, *text; bool unknown; uint32_t invalid; } sets[] = {
	{ "", "M\xfcller", "Müller", false, 0 },  // nothing told: no UTF-8, so 8859/1
	{ "", "Müller", "Müller", false, 0 },
	{ "8859/15", "\xa4", "€", false, 0 },
	{ "UNICODE UTF-8", "M\xfcller|x", "M\xef\xbf\xbdller", false, 1 },
	{ "8859/1", "M\xc3\xbc", "MÃ¼", false, 0 }, // what is declared counts
	{ "X-OWN", "M\xfcller", "Müller", true, 0 },
	{ "~ISO IR87", "\x1b$B;3ED\x1b(B^x", "山田", false, 0 },
	{ "8859/1~ISO IR87", "\x1b$B;3ED\x1b(B^x", "山田", false, 0 },
	{ "BIG-5", "\xa8\x7c\xa5\x5c|x", "育功", false, 0 },
};

static void
test_charsets(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		char message[256];

		snprintf(message, sizeof(message), MSH "||||||%s\rPID|||||%s|x\r", sets[i].charset, sets[i].bytes);
		assert_int_equal(read_text(message), GW_OK);
		assert_string_equal(at("PID-5.1"), sets[i].text);
		assert_int_equal(in.charset_unknown, sets[i].unknown);
		assert_int_equal(in.invalid, sets[i].invalid);
	}
	assert_int_equal(gw_hl7_parse(&in, gw_span_text(MSH "\rPID|||||\xa4"), gw_hl7_charset_find(gw_span_text("8859/15")), NULL), GW_OK);
	assert_string_equal(at("PID-5"), "€");
}

// ---- Paths ----

static void
test_paths(void **state)
{
	(void)state;
	assert_int_equal(read_text(MSH "\rPID|||7^^^F^PI~8^^^G^MR\rOBX|1|CWE|1^a||first||||||R\rOBX|2|CWE|68487^b||second^x||||||F\r"
	    "PRT|1|UC||AUT||||||a\rPRT|2|UC||EQUIP^e||||||b^^0123"), GW_OK);
	assert_string_equal(at("PID-3(MR).1"), "8");
	assert_string_equal(at("PID-3(4=F).1"), "7");
	assert_string_equal(at("PID-3(XX).1"), "");
	assert_string_equal(at("OBX(68487)-5.1"), "second");
	assert_string_equal(at("OBX(11=R)-5"), "first");
	assert_string_equal(at("OBX(3.2=b)-1"), "2");
	assert_string_equal(at("PRT(EQUIP)-10.3"), "0123");
	assert_string_equal(at("PRT(4.2=e)-1"), "2");
}

static const struct { const char *path, *words; } wrong[] = {
	{ "", "three letters" }, { "PID", "three letters" }, { "pid-3", "three letters" }, { "PID3", "- belongs" }, { "PID-", "the field" }, { "PID-0", "the field" },
	{ "PID-256", "the field" }, { "PID-3.", "the component" }, { "PID-3.1.", "the subcomponent" }, { "PID-3.1.1.1", "behind it" }, { "PID-3x", "behind it" },
	{ "PID-3(PI", "closing bracket" }, { "PID-3()", "1 to 32" }, { "PID-3[0]", "the repetition" }, { "PID-3[1", "closing bracket" }, { "PID-3(x=PI)", "before =" },
	{ "OBX(-5", "closing bracket" }, { "OBX(11=)-5", "1 to 32" }, { "PID-3(0123456789012345678901234567890123)", "1 to 32" },
};

static void
test_wrong_paths(void **state)
{
	struct gw_hl7_paths paths;
	struct gw_hl7_path path;
	struct gw_why why;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(gw_hl7_path_parse(gw_span_text(wrong[i].path), &path, &why), GW_E_CONFIG);
		if (strstr(why.text, wrong[i].words) == NULL)
			fail_msg("%s without \"%s\"", why.text, wrong[i].words);
	}
	assert_int_equal(gw_hl7_paths_parse(gw_span_text(" PID-3(PI), PID-3(4=St. John),PID-2 "), &paths, &why), GW_OK);
	assert_int_equal(paths.count, 3);
	assert_string_equal(paths.path[1].value, "St. John");
	assert_int_equal(gw_hl7_paths_parse(gw_span_text(""), &paths, &why), GW_OK);
	assert_int_equal(paths.count, 0);
	assert_int_equal(gw_hl7_paths_parse(gw_span_text("PID-1 PID-2 PID-3 PID-4 PID-5 PID-6 PID-7"), &paths, &why), GW_E_CONFIG);
	assert_int_equal(gw_hl7_paths_parse(gw_span_text("PID-3, PV1"), &paths, &why), GW_E_CONFIG);
}

// ---- Times ----

#define UTC(y, mo, d, h, mi, s) ((gw_days_from_civil(y, mo, d) * 86400 + (h) * 3600 + (mi) * 60 + (s)) * INT64_C(1000000))

static void
test_times(void **state)
{
	const struct { const char *text; int64_t us; enum gw_hl7_precision precision; bool zoned; } rows[] = {
		{ "2026", UTC(2025, 12, 31, 23, 0, 0), GW_HL7_YEAR, false },
		{ "202602", UTC(2026, 1, 31, 23, 0, 0), GW_HL7_MONTH, false },
		{ "20260228", UTC(2026, 2, 27, 23, 0, 0), GW_HL7_DAY, false },
		{ "2026022823", UTC(2026, 2, 28, 22, 0, 0), GW_HL7_HOUR, false },
		{ "202607011530", UTC(2026, 7, 1, 13, 30, 0), GW_HL7_MINUTE, false },
		{ "20260701153012", UTC(2026, 7, 1, 13, 30, 12), GW_HL7_SECOND, false },
		{ "20260701153012.5", UTC(2026, 7, 1, 13, 30, 12) + 500000, GW_HL7_FRACTION, false },
		{ "20260701153012.123456789+0000", UTC(2026, 7, 1, 15, 30, 12) + 123456, GW_HL7_FRACTION, true },
		{ "202607011530+0530", UTC(2026, 7, 1, 10, 0, 0), GW_HL7_MINUTE, true },
		{ "20260701153000-0400", UTC(2026, 7, 1, 19, 30, 0), GW_HL7_SECOND, true },
		{ "20260701153000-0000", UTC(2026, 7, 1, 15, 30, 0), GW_HL7_SECOND, true },
		{ "20261231235960+0000", UTC(2027, 1, 1, 0, 0, 0), GW_HL7_SECOND, true },
		{ "20240229", UTC(2024, 2, 28, 23, 0, 0), GW_HL7_DAY, false },
		{ "20230229", 0, 0, false }, { "20260631", 0, 0, false }, { "20261301", 0, 0, false }, { "2026070124", 0, 0, false }, { "202607011560", 0, 0, false },
		{ "", 0, 0, false }, { "202", 0, 0, false }, { "20260", 0, 0, false }, { "2026-07-01", 0, 0, false }, { "20260701153012.", 0, 0, false },
		{ "202607011530.5", 0, 0, false }, { "20260701153012+1", 0, 0, false }, { "20260701153012+2400", 0, 0, false }, { "20260701153012 ", 0, 0, false },
	};
	struct gw_zone *zone;

	(void)state;
	assert_int_equal(gw_zone_open("CET-1CEST,M3.5.0,M10.5.0/3", &zone, NULL), GW_OK);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct gw_hl7_dtm dtm;

		if (gw_hl7_dtm_parse(gw_span_text(rows[i].text), zone, 0, &dtm) != (rows[i].precision != 0))
			fail_msg("%s", rows[i].text);
		if (rows[i].precision == 0)
			continue;
		assert_int_equal(dtm.us, rows[i].us);
		assert_int_equal(dtm.precision, rows[i].precision);
		assert_int_equal(dtm.zoned, rows[i].zoned);
	}
	gw_zone_free(zone);
}

// 02:30 stands twice on 25 October 2026: the nearer one is meant.
static void
test_doubled_hour(void **state)
{
	struct gw_hl7_dtm dtm;
	struct gw_zone *zone;

	(void)state;
	assert_int_equal(gw_zone_open("CET-1CEST,M3.5.0,M10.5.0/3", &zone, NULL), GW_OK);
	assert_true(gw_hl7_dtm_parse(gw_span_text("202610250230"), zone, UTC(2026, 10, 25, 0, 31, 0), &dtm));
	assert_int_equal(dtm.us, UTC(2026, 10, 25, 0, 30, 0));
	assert_true(gw_hl7_dtm_parse(gw_span_text("202610250230"), zone, UTC(2026, 10, 25, 1, 31, 0), &dtm));
	assert_int_equal(dtm.us, UTC(2026, 10, 25, 1, 30, 0));
	gw_zone_free(zone);
}

// ---- What is written is read back: property over generated messages ----

#define PARTS_MAX 4000

struct generated {
	uint64_t seed;
	uint8_t field, component, repetition, escape, subcomponent;
	const struct gw_hl7_charset *charset;
	const char *end;
	struct gw_hl7_out utf8; // the message, before its character set
	struct { uint32_t at, len; } part[PARTS_MAX]; // subcomponents in order, in `texts`
	size_t part_count;
	struct gw_hl7_out texts;
};

static uint32_t
pick(struct generated *g, uint32_t below)
{
	g->seed = g->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(g->seed >> 33) % below;
}

static void
byte(struct gw_hl7_out *out, uint8_t value)
{
	gw_hl7_put_bytes(out, gw_span(&value, 1));
}

static void
put_character(struct generated *g, struct gw_span character)
{
	static const char letters[] = "FSTRE";
	const uint8_t separators[] = { g->field, g->component, g->subcomponent, g->repetition, g->escape };

	gw_hl7_put_bytes(&g->texts, character);
	for (size_t i = 0; i < 5; i++)
		if (character.at[0] == separators[i]) {
			byte(&g->utf8, g->escape);
			byte(&g->utf8, (uint8_t)letters[i]);
			byte(&g->utf8, g->escape);
			return;
		}
	if (character.at[0] < 0x20 || (character.at[0] < 0x80 && pick(g, 20) == 0))
		gw_hl7_putf(&g->utf8, "%cX%02x%c", g->escape, character.at[0], g->escape);
	else
		gw_hl7_put_bytes(&g->utf8, character);
}

static void
put_part(struct generated *g)
{
	static const char *const characters[] = { "|", "^", "~", "\\", "&", "#", "!", "?", "*", "%", "a", "F", "X", "E", "T", ".", "\"", " ", "\r", "\n", "\t", "\x1c", "\x0b",
		"ä", "ß", "é", "€", "Ž", "Ł", "山", "😀", "\xc2\x80", "\xef\xbf\xbd" };
	size_t from = g->texts.len;

	if (g->part_count == PARTS_MAX)
		return;
	for (uint32_t n = pick(g, 3) == 0 ? 0 : pick(g, 12); n > 0; n--)
		put_character(g, gw_span_text(characters[pick(g, sizeof(characters) / sizeof(characters[0]))]));
	g->part[g->part_count].at = (uint32_t)from;
	g->part[g->part_count++].len = (uint32_t)(g->texts.len - from);
}

static void
put_field(struct generated *g)
{
	byte(&g->utf8, g->field);
	for (uint32_t r = pick(g, 4) == 0 ? 3 : 1; r > 0; r--) {
		for (uint32_t c = 1 + pick(g, 4); c > 0; c--) {
			for (uint32_t s = pick(g, 4) == 0 ? 3 : 1; s > 0; s--) {
				put_part(g);
				if (s > 1)
					byte(&g->utf8, g->subcomponent);
			}
			if (c > 1)
				byte(&g->utf8, g->component);
		}
		if (r > 1)
			byte(&g->utf8, g->repetition);
	}
}

static void
generate(struct generated *g)
{
	static const char *const separators[] = { "|^~\\&", "#*!?%", "|^~\\}", "&|\\~^", "/:;=+" };
	static const char *const sets_[] = { "UNICODE UTF-8", "8859/1", "8859/15", "ASCII" }, *const ends[] = { "\r", "\n", "\r\n" };
	const char *s = separators[pick(g, 5)];

	g->field = (uint8_t)s[0], g->component = (uint8_t)s[1], g->repetition = (uint8_t)s[2], g->escape = (uint8_t)s[3], g->subcomponent = (uint8_t)s[4];
	g->charset = gw_hl7_charset_find(gw_span_text(sets_[pick(g, 4)]));
	g->end = ends[pick(g, 3)];
	gw_hl7_putf(&g->utf8, "MSH%s", s);
	for (int i = 0; i < 16; i++)
		byte(&g->utf8, g->field);
	// "8859/1" holds a separator of the last set: MSH-18 is escaped like any text, or written in another of its spellings.
	gw_hl7_putf(&g->utf8, "%s", s[0] == '/' && gw_hl7_charset_name(g->charset)[0] == '8' ? gw_hl7_charset_name(g->charset)[5] == '1' &&
	    gw_hl7_charset_name(g->charset)[6] == '5' ? "8859-15" : "8859-1" : gw_hl7_charset_name(g->charset));
	gw_hl7_put(&g->utf8, g->end);
	for (uint32_t n = 1 + pick(g, 8); n > 0; n--) {
		gw_hl7_putf(&g->utf8, "%c%c%c", 'A' + (int)pick(g, 12), 'A' + (int)pick(g, 26), '0' + (int)pick(g, 10));
		for (uint32_t f = pick(g, 12); f > 0; f--)
			put_field(g);
		gw_hl7_put(&g->utf8, g->end);
	}
}

static void
compare_field(struct generated *g, struct gw_span field, size_t *part)
{
	struct gw_span repetition, component, subcomponent;

	while (gw_hl7_next(&in, &field, &repetition))
		for (unsigned c = 1; (component = gw_hl7_component(&in, repetition, c)).at != NULL; c++)
			for (unsigned s = 1; (subcomponent = gw_hl7_subcomponent(&in, component, s)).at != NULL; s++) {
				struct gw_span text = gw_hl7_text(&in, subcomponent);

				assert_true(*part < g->part_count);
				assert_int_equal(text.len, g->part[*part].len);
				if (text.len > 0)
					assert_memory_equal(text.at, g->texts.at + g->part[*part].at, text.len);
				(*part)++;
			}
}

static void
test_written_is_read_back(void **state)
{
	static struct generated g;
	const char *rounds = getenv("ROUNDS");

	(void)state;
	for (uint64_t seed = 1; seed <= (rounds != NULL ? strtoull(rounds, NULL, 10) : 2000); seed++) {
		struct gw_hl7_out wire = { 0 };
		struct gw_why why;
		size_t part = 0;

		g = (struct generated){ .seed = seed * UINT64_C(0x9E3779B97F4A7C15) };
		generate(&g);
		gw_hl7_charset_put(&wire, g.charset, gw_span(g.utf8.at, g.utf8.len), g.escape);
		if (gw_hl7_parse(&in, gw_span(wire.at, wire.len), NULL, &why) != GW_OK)
			fail_msg("seed %llu: %s", (unsigned long long)seed, why.text);
		for (size_t i = 1; i < in.segment_count; i++)
			for (unsigned n = 1; n < in.segments[i].count; n++)
				compare_field(&g, gw_hl7_field(&in, i, n), &part);
		assert_int_equal(part, g.part_count);
		assert_int_equal(in.invalid, 0);
		gw_hl7_out_fini(&wire);
		gw_hl7_out_fini(&g.utf8);
		gw_hl7_out_fini(&g.texts);
	}
}

static int
finish(void **state)
{
	(void)state;
	gw_hl7_in_fini(&in);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segment_ends),
		cmocka_unit_test(test_no_segment_out_of_text),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_separators),
		cmocka_unit_test(test_not_hl7),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_text_limit),
		cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_charsets),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_wrong_paths),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_doubled_hour),
		cmocka_unit_test(test_written_is_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, finish);
}

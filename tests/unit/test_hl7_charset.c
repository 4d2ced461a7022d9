// SPDX-License-Identifier: Apache-2.0
// Character sets: names as peers write them, bytes in, characters out. Expected bytes are from the sets' own tables (ISO 8859, JIS X 0208, Big5, GB 18030).
#include "adapters/hl7/charset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static const struct { const char *name, *means; } names[] = {
	{ "8859/1", "8859/1" }, { "8859/15", "8859/15" }, { "8859/9", "8859/9" }, { "ASCII", "ASCII" }, { "UNICODE UTF-8", "UNICODE UTF-8" },
	{ "UNICODE", "UNICODE UTF-8" }, { "utf-8", "UNICODE UTF-8" }, { "ISO-8859-1", "8859/1" }, { "iso8859_15", "8859/15" }, { "Latin1", "8859/1" },
	{ "ISO IR6", "ASCII" }, { "ISO IR87", "ISO IR87" }, { "ISO IR159", "ISO IR159" }, { "GB 18030-2000", "GB 18030-2000" }, { "KS X 1001", "KS X 1001" },
	{ "CNS 11643-1992", "CNS 11643-1992" }, { "BIG-5", "BIG-5" },
	{ "", NULL }, { "8859/16", NULL }, { "EBCDIC", NULL }, { "UNICODE UTF-16", NULL }, { "a name that is much longer than any of them", NULL },
};

static void
test_names(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const struct gw_hl7_charset *charset = gw_hl7_charset_find(gw_span_text(names[i].name));

		if (names[i].means == NULL)
			assert_null(charset);
		else
			assert_string_equal(charset != NULL ? gw_hl7_charset_name(charset) : names[i].name, names[i].means);
	}
}

static const struct { const char *name, *bytes, *text; uint32_t invalid; } in[] = {
	{ "8859/1", "M\xfcller \xa4", "Müller ¤", 0 },
	{ "8859/15", "M\xfcller \xa4\xa6\xa8\xb4\xb8\xbc\xbd\xbe", "Müller €ŠšŽžŒœŸ", 0 },
	{ "8859/2", "\xa3ukasz", "Łukasz", 0 },
	{ "8859/5", "\xb8\xd2\xd0\xdd", "Иван", 0 },
	{ "8859/7", "\xcd\xdf\xea\xef\xf2", "Νίκος", 0 },
	{ "8859/9", "\xde\xfe", "Şş", 0 },
	{ "ASCII", "M\xfcller", "M\xef\xbf\xbdller", 1 },
	{ "UNICODE UTF-8", "Müller", "Müller", 0 },
	{ "UNICODE UTF-8", "\xc3|\xff(\xed\xa0\x80", "\xef\xbf\xbd|\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 5 },
	{ "ISO IR87", "YAMADA=\x1b$B;3ED\x1b(B^TARO", "YAMADA=山田^TARO", 0 },
	{ "GB 18030-2000", "\xd5\xc5|x", "张|x", 0 },
	{ "KS X 1001", "\xb1\xe8", "김", 0 },
	{ "BIG-5", "\xa4\xfd\xa5\x5c\xa8\x7c|", "王功育|", 0 }, // second bytes that look like \ and |
	{ "8859/7", "a\xff" "b", "a\xef\xbf\xbd" "b", 1 },
};

static void
test_in(void **state)
{
	struct gw_hl7_decoder decoder = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++) {
		uint8_t out[GW_HL7_DECODE_MAX(64)];
		uint32_t invalid = 0;
		size_t len = gw_hl7_decode(&decoder, gw_hl7_charset_find(gw_span_text(in[i].name)), gw_span_text(in[i].bytes), out, &invalid);

		out[len] = '\0';
		assert_string_equal((char *)out, in[i].text);
		assert_int_equal(invalid, in[i].invalid);
	}
	gw_hl7_decoder_fini(&decoder);
}

static const struct { const char *name, *text, *bytes; size_t escaped; } out[] = {
	{ "UNICODE UTF-8", "Łódź €", "Łódź €", 0 },
	{ "8859/1", "Müller", "M\xfcller", 0 },
	{ "8859/1", "5 € Łoś", "5 \\XE282AC\\ \\XC581\\o\\XC59B\\", 3 },
	{ "8859/15", "5 € ¤ Ž", "5 \xa4 \\XC2A4\\ \xb4", 1 },
	{ "ASCII", "Zoë", "Zo\\XC3AB\\", 1 },
	{ "ASCII", "plain", "plain", 0 },
	{ "ASCII", "😀", "\\XF09F9880\\", 1 },
};

static void
test_out(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(out) / sizeof(out[0]); i++) {
		struct gw_hl7_out found = { 0 };
		size_t escaped = gw_hl7_charset_put(&found, gw_hl7_charset_find(gw_span_text(out[i].name)), gw_span_text(out[i].text), '\\');

		assert_int_equal(escaped, out[i].escaped);
		assert_int_equal(found.len, strlen(out[i].bytes));
		assert_memory_equal(found.at, out[i].bytes, found.len);
		gw_hl7_out_fini(&found);
	}
	assert_false(gw_hl7_charset_writes(gw_hl7_charset_find(gw_span_text("BIG-5"))));
}

// Each byte of the single-byte sets that are written comes back as itself.
static void
test_there_and_back(void **state)
{
	static const char *const sets[] = { "8859/1", "8859/15", "ASCII" };
	struct gw_hl7_decoder decoder = { 0 };

	(void)state;
	for (size_t s = 0; s < 3; s++) {
		const struct gw_hl7_charset *charset = gw_hl7_charset_find(gw_span_text(sets[s]));

		for (unsigned byte = 1; byte < (s < 2 ? 256 : 128); byte++) {
			uint8_t one = (uint8_t)byte, utf8[GW_HL7_DECODE_MAX(1)];
			struct gw_hl7_out back = { 0 };
			uint32_t invalid = 0;
			size_t len = gw_hl7_decode(&decoder, charset, gw_span(&one, 1), utf8, &invalid);

			assert_int_equal(invalid, 0);
			assert_int_equal(gw_hl7_charset_put(&back, charset, gw_span(utf8, len), '\\'), 0);
			assert_int_equal(back.len, 1);
			assert_int_equal(back.at[0], byte);
			gw_hl7_out_fini(&back);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_in),
		cmocka_unit_test(test_out),
		cmocka_unit_test(test_there_and_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

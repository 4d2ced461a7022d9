// SPDX-License-Identifier: Apache-2.0
// Acknowledgements as peers write them, one row each: what they mean, for which message, and why.
#include "adapters/hl7/ack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#define MSH "MSH|^~\\&|RCV|H|SND|H|20260101||ACK^R01^ACK|9|P|2.6"

static const struct row {
	const char *message;
	enum gw_hl7_answer answer;
	const char *code, *control_id, *text;
} rows[] = {
	{ MSH "\rMSA|AA|ID1\r", GW_HL7_ACCEPT, "AA", "ID1", "" },
	{ MSH "\rMSA|CA|ID1", GW_HL7_ACCEPT, "CA", "ID1", "" },
	{ MSH "\rMSA|AE|ID1|no such bed\r", GW_HL7_ERROR, "AE", "ID1", "no such bed" },
	{ MSH "\rMSA|CE|ID1\rERR|||100|E|||Missing required OBR segment\r", GW_HL7_ERROR, "CE", "ID1", "Missing required OBR segment" },
	{ MSH "\rMSA|AE|ID1\rERR||MSH^1^12|203^Unsupported version^HL70357|E\r", GW_HL7_ERROR, "AE", "ID1", "Unsupported version" },
	{ MSH "\rMSA|AR|ID1\rERR|||207^Application internal error|F|9010^Unable to match\r", GW_HL7_REJECT, "AR", "ID1", "Unable to match" },
	{ MSH "\rMSA|CR|ID1\rERR|||200|E||||for people\r", GW_HL7_REJECT, "CR", "ID1", "for people" },
	// Line ends, order, unknown segments, spaces, other separators.
	{ MSH "\nMSA|AA|ID1\n", GW_HL7_ACCEPT, "AA", "ID1", "" },
	{ MSH "\r\nMSA|AA|ID1\r\n", GW_HL7_ACCEPT, "AA", "ID1", "" },
	{ MSH "\rSFT|Acme|1\rZZZ|x\rMSA|AA|ID1\r", GW_HL7_ACCEPT, "AA", "ID1", "" },
	{ MSH "\rERR|||207^first\rMSA|AE|ID1\r", GW_HL7_ERROR, "AE", "ID1", "" },
	{ MSH "\rMSA| AA | ID1 \r", GW_HL7_ACCEPT, "AA", "ID1", "" },
	{ "MSH#^~\\&#RCV\rMSA#AA#ID1\r", GW_HL7_ACCEPT, "AA", "ID1", "" },
	{ MSH "\rMSA|AA|OTHER\r", GW_HL7_ACCEPT, "AA", "OTHER", "" }, // the caller compares
	{ MSH "\rMSA|AA|ID1\rMSA|AR|ID1\r", GW_HL7_ACCEPT, "AA", "ID1", "" },
	// Never a success.
	{ "", GW_HL7_MALFORMED, "", "", "" },
	{ "MSA|AA|ID1\r", GW_HL7_MALFORMED, "", "", "" },
	{ MSH "\r", GW_HL7_MALFORMED, "", "", "" },
	{ MSH "\rMSA\r", GW_HL7_MALFORMED, "", "", "" },
	{ MSH "\rMSA|AA\r", GW_HL7_MALFORMED, "AA", "", "" },
	{ MSH "\rMSA|AA|\r", GW_HL7_MALFORMED, "AA", "", "" },
	{ MSH "\rMSA||ID1\r", GW_HL7_MALFORMED, "", "ID1", "" },
	{ MSH "\rMSA|OK|ID1\r", GW_HL7_MALFORMED, "OK", "ID1", "" },
	{ MSH "\rMSA|aa|ID1\r", GW_HL7_MALFORMED, "aa", "ID1", "" },
	{ MSH "\rMSAX|AA|ID1\r", GW_HL7_MALFORMED, "", "", "" },
	{ MSH "\rMSA^AA^ID1\r", GW_HL7_MALFORMED, "", "", "" },
	{ "MSH\rMSA|AA|ID1\r", GW_HL7_MALFORMED, "", "", "" },
	{ "HTTP/1.1 400 Bad Request\r\n\r\n", GW_HL7_MALFORMED, "", "", "" },
};

static void
test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		struct gw_hl7_ack ack;
		char found[128], expected[128];

		gw_hl7_ack_parse(gw_span_text(row->message), &ack);
		snprintf(found, sizeof(found), "%zu: %d %s %.*s <%.*s>", i, ack.answer, ack.code, GW_SPAN_FMT(ack.control_id), GW_SPAN_FMT(ack.text));
		snprintf(expected, sizeof(expected), "%zu: %d %s %s <%s>", i, row->answer, row->code, row->control_id, row->text);
		assert_string_equal(found, expected);
	}
}

// Cut anywhere, an acknowledgement never becomes a success for a message that it does not name whole.
static void
test_every_prefix(void **state)
{
	static const char whole[] = MSH "\rMSA|AA|0123456789\r";
	struct gw_hl7_ack ack;

	(void)state;
	for (size_t len = 0; len < sizeof(whole) - 1; len++) {
		gw_hl7_ack_parse(gw_span(whole, len), &ack);
		if (ack.answer == GW_HL7_ACCEPT)
			assert_true(len >= sizeof(whole) - 2 || !gw_span_is(ack.control_id, "0123456789"));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_every_prefix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// From the wire to whose reading it is: messages of a ward's day are read, interpreted and applied to the patients' model. "@17" in a message is the
// seventeenth minute of the day as DTM.
#include "adapters/hl7/interpret.h"
#include "adapters/hl7/out.h"

#include "patients_help.h"

static struct gw_hl7_in in;
static struct gw_hl7_mapping mapping;
static struct gw_hl7_meaning meaning;
static unsigned number;

static void
put_message(struct gw_hl7_out *out, int64_t minute, const char *type, const char *body)
{
	gw_hl7_put(out, "MSH|^~\\&|ADT|H|VG|H|");
	gw_hl7_put_time(out, at(minute));
	gw_hl7_putf(out, "||%s|%u|P|2.5\r", type, ++number);
	while (*body != '\0')
		if (*body == '@')
			gw_hl7_put_time(out, at(strtol(body + 1, (char **)(uintptr_t)&body, 10)));
		else
			gw_hl7_put_bytes(out, gw_span(body++, 1));
	assert_false(out->failed);
}

// Says it at that minute: how many events it was.
static size_t
hear(int64_t minute, const char *type, const char *body)
{
	const struct gw_snapshot *snapshot = gw_snapshot_get(hub.registry);
	const struct gw_hl7_context context = { .mapping = &mapping, .received_us = at(minute), .find_device = gw_hl7_find_device,
		.arg = (void *)(uintptr_t)snapshot };
	struct gw_hl7_out out = { 0 };

	put_message(&out, minute, type, body);
	if (gw_hl7_parse(&in, gw_span(out.at, out.len), NULL, &hub.why) != GW_OK)
		fail_msg("%s", hub.why.text);
	gw_hl7_interpret(&in, &context, &meaning);
	if (meaning.means == GW_HL7_MEANS_FAULT)
		fail_msg("%s", meaning.fault.why.text);
	for (size_t i = 0; i < meaning.count; i++)
		told(meaning.events[i]);
	gw_snapshot_put(snapshot);
	gw_hl7_out_fini(&out);
	return meaning.count;
}

static int
open_hub(void **state)
{
	gw_hl7_mapping_init(&mapping);
	assert_int_equal(gw_hl7_mapping_set(&mapping, "services", gw_span_text("M1"), NULL), GW_OK);
	return hub_open(state);
}

static int
close_hub(void **state)
{
	gw_hl7_in_fini(&in);
	return hub_close(state);
}

#define PID(id) "PID|||" id "^^^K^PI\r"
#define IN(bed) "PV1||I|" bed "\r"

static void
test_stay(void **state)
{
	(void)state;
	hear(2, "ADT^A01", "EVN||@2||||@1\r" PID("7") IN("ICU^^3"));
	assert_whose("wall3", 0, "-");
	assert_whose("wall3", 1, "7");
	// Moved at 10, told at 40.
	hear(40, "ADT^A02", "EVN||@40||||@10\r" PID("7") "PV1||I|ICU^^4|||ICU^^3\r");
	assert_whose("wall3", 9, "7");
	assert_whose("wall3", 10, "-");
	hear(45, "ADT^A12", "EVN||@45\r" PID("7") "PV1||I|ICU^^3|||ICU^^4\r");
	assert_whose("wall3", 20, "7");
	hear(50, "ADT^A03", "EVN||@50\r" PID("7") IN("ICU^^3"));
	assert_whose("wall3", 49, "7");
	assert_whose("wall3", 50, "-");
	hear(55, "ADT^A13", "EVN||@55\r" PID("7") IN("ICU^^3"));
	assert_whose("wall3", 52, "7");
	hear(60, "ADT^A11", "EVN||@60\r" PID("7") IN("ICU^^3"));
	assert_whose("wall3", 20, "-");
}

static void
test_to_a_ward_without_beds(void **state)
{
	(void)state;
	hear(2, "ADT^A01", "EVN||@2\r" PID("7") IN("ICU^^3"));
	told(EVENT(ASSOCIATE, 3, WHO("7^^^K"), DEVICE("m1")));
	hear(10, "ADT^A02", "EVN||@10\r" PID("7") "PV1||I|NORMAL|||ICU^^3\r");
	assert_whose("wall3", 9, "7");
	assert_whose("wall3", 10, "-");
	assert_whose("m1", 10, "7");
	assert_true(owner_of("m1", at(10), 0).flagged);
	hear(15, "ADT^A12", "EVN||@15||||@10\r" PID("7") "PV1||I|ICU^^3|||NORMAL\r");
	assert_whose("wall3", 12, "7");
	assert_false(owner_of("m1", at(12), 0).flagged);
	hear(20, "ADT^A02", "EVN||@20\r" PID("7") "PV1||I|NORMAL\r"); // without saying from where
	assert_whose("wall3", 20, "-");
	assert_true(owner_of("m1", at(20), 0).flagged);
}

static void
test_unknown_until_updated(void **state)
{
	(void)state;
	hear(30, "ADT^A08", "EVN||@10||||@5\r" PID("7") IN("ICU^^3"));
	assert_whose("wall3", 29, "-");
	assert_whose("wall3", 30, "7");
}

static void
test_swapped_and_merged(void **state)
{
	(void)state;
	told(EVENT(PLACE, 0, DEVICE("m1"), BED("ICU^^4")));
	hear(1, "ADT^A01", "EVN||@1\r" PID("7") IN("ICU^^3"));
	hear(2, "ADT^A01", "EVN||@2\r" PID("8") IN("ICU^^4"));
	hear(20, "ADT^A17", "EVN||@20||||@10\r" PID("7") IN("ICU^^4") PID("8") IN("ICU^^3"));
	assert_whose("wall3", 9, "7");
	assert_whose("wall3", 10, "8");
	assert_whose("m1", 10, "7");
	hear(30, "ADT^A40", "EVN||@30\r" PID("9") "MRG|7^^^K^PI\r");
	assert_whose("m1", 31, "9");
	hear(35, "ADT^A47", "EVN||@35\r" PID("80") "MRG|8^^^K^PI\r");
	assert_whose("wall3", 36, "80");
}

#define DEV51(patient, times, event, status) PID(patient) "PV1||I\rOBR|||a1|69136|||" times "\rOBX|1|CWE|68487||" event "||||||" status \
	"\rPRT|1|UC||EQUIP||||||m1\r"

static void
test_association_reports(void **state)
{
	(void)state;
	hear(10, "ORU^R01^ORU_R01", DEV51("7", "@5|@5", "198332", "R"));
	assert_whose("m1", 4, "-");
	assert_whose("m1", 5, "7");
	hear(30, "ORU^R01^ORU_R01", DEV51("7", "@5|@25", "198334", "R"));
	assert_whose("m1", 24, "7");
	assert_whose("m1", 25, "-");
	hear(31, "ORU^R01^ORU_R01", DEV51("7", "@5|@25", "198334", "W")); // it had not ended
	assert_whose("m1", 26, "7");
	hear(32, "ORU^R01^ORU_R01", DEV51("8", "@5", "198332", "C")); // it was another patient all the time
	assert_whose("m1", 10, "8");
	hear(33, "ORU^R01^ORU_R01", DEV51("8", "@5", "198332", "D")); // there was none
	assert_whose("m1", 10, "-");
}

#define REPORT(id, device, times, event, status) PID("7") "PV1||I\rOBR|||" id "|69136|||" times "\rOBX|1|CWE|68487||" event "||||||" status \
	"\rPRT|1|UC||EQUIP||||||" device "\r"
#define UPDATE_OF(own, first, device, times, event, status) PID("7") "PV1||I\rOBR|||" own "^^0A|69136|||" times "|||||||||||||||||||||^" first "\rOBX|1|CWE|68487||" \
	event "||||||" status "\rPRT|1|UC||EQUIP||||||" device "\r"

// The same association once more: with another device, with another begin; by its own number or as an update of the first report.
static void
test_associations_that_are_told_again(void **state)
{
	(void)state;
	hear(10, "ORU^R01^ORU_R01", REPORT("a1^^0A", "m1", "@5|@5", "198332", "R"));
	hear(11, "ORU^R01^ORU_R01", REPORT("a1^^0A", "m1", "@5|@5", "198332", "F"));
	assert_whose("m1", 5, "7");
	hear(12, "ORU^R01^ORU_R01", REPORT("a1^^0A", "m1", "@8|@8", "198332", "R"));
	assert_whose("m1", 7, "-");
	assert_whose("m1", 8, "7");
	hear(13, "ORU^R01^ORU_R01", UPDATE_OF("a2", "a1&&0A", "m2", "@6|@6", "198332", "C"));
	assert_whose("m1", 9, "-");
	assert_whose("m2", 6, "7");
	hear(14, "ORU^R01^ORU_R01", UPDATE_OF("a3", "a1", "m1", "@4|@4", "198332", "R")); // its assigner is this one's
	assert_whose("m1", 4, "7");
	assert_whose("m2", 9, "-");
	// Somebody else's number of the same digits is another association.
	hear(15, "ORU^R01^ORU_R01", REPORT("a1^^0B", "m2", "@5|@5", "198332", "R"));
	assert_whose("m1", 9, "7");
	assert_whose("m2", 9, "7");
	hear(20, "ORU^R01^ORU_R01", UPDATE_OF("a4", "a1&&0A", "m1", "@4|@18", "198334", "R"));
	assert_whose("m1", 17, "7");
	assert_whose("m1", 18, "-");
	assert_whose("m2", 19, "7");
	hear(21, "ORU^R01^ORU_R01", UPDATE_OF("a5", "a1&&0A", "m1", "@4|@18", "198332", "D"));
	assert_whose("m1", 9, "-");
	assert_whose("m2", 9, "7");
}

static void
test_orders(void **state)
{
	(void)state;
	hear(10, "ORM^O01", PID("7") "PV1||I\rORC|NW|P1^OE|||||||||||||@5\rOBR|1|P1^OE||M1||||||||||||||m1\r");
	assert_whose("m1", 4, "-");
	assert_whose("m1", 5, "7");
	assert_string_equal(owner_of("m1", at(6), 0).order, "P1");
	assert_string_equal(owner_of("m1", at(6), 0).order_authority, "OE");
	hear(20, "ORM^O01", PID("7") "PV1||I\rORC|HD|P1^OE\rOBR|1|P1^OE||M1||||||||||||||m1\r");
	assert_whose("m1", 20, "-");
	hear(30, "ORM^O01", PID("7") "PV1||I\rORC|RL|P1^OE\rOBR|1|P1^OE||M1||||||||||||||m1\r");
	assert_whose("m1", 30, "7");
	assert_int_equal(hear(35, "ORM^O01", PID("7") "PV1||I\rORC|CA|P9^LAB\rOBR|1|P9^LAB||GLUCOSE\r"), 0);
	assert_whose("m1", 36, "7");
	hear(40, "ORM^O01", PID("7") "PV1||I\rORC|CA|P1^OE\r"); // by its number alone
	assert_whose("m1", 39, "7");
	assert_whose("m1", 40, "-");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_hub, close_hub)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_stay),
		TEST(test_to_a_ward_without_beds),
		TEST(test_unknown_until_updated),
		TEST(test_swapped_and_merged),
		TEST(test_association_reports),
		TEST(test_associations_that_are_told_again),
		TEST(test_orders),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

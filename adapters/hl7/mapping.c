// SPDX-License-Identifier: Apache-2.0
// Which fields of a site's messages say what: defaults, and configuration by name. At start-up; constant afterwards.
#include "adapters/hl7/interpret.h"

#include <stddef.h>

static const struct {
	const char *name;
	size_t offset;
	const char *text;
} lists[] = {
	{ "patient", offsetof(struct gw_hl7_mapping, patient), "PID-3, PID-2" },
	{ "prior_patient", offsetof(struct gw_hl7_mapping, prior_patient), "MRG-1, MRG-4" },
	{ "visit", offsetof(struct gw_hl7_mapping, visit), "PV1-19.1" },
	{ "class", offsetof(struct gw_hl7_mapping, class_), "PV1-2.1" },
	{ "account", offsetof(struct gw_hl7_mapping, account), "PID-18.1" },
	{ "bed", offsetof(struct gw_hl7_mapping, bed), "PV1-3" },
	{ "prior_bed", offsetof(struct gw_hl7_mapping, prior_bed), "PV1-6" },
	{ "order_device", offsetof(struct gw_hl7_mapping, order_device), "PRT(EQUIP)-10, OBR-18.1" },
	{ "association_device", offsetof(struct gw_hl7_mapping, association_device), "PRT(EQUIP)-10" },
	{ "times", offsetof(struct gw_hl7_mapping, times), "ZBE-2, EVN-6, EVN-2, MSH-7" },
	{ "admission_times", offsetof(struct gw_hl7_mapping, admission_times), "ZBE-2, EVN-6, PV1-44, EVN-2, MSH-7" },
	{ "update_times", offsetof(struct gw_hl7_mapping, update_times), "MSH-7" },
	{ "order_times", offsetof(struct gw_hl7_mapping, order_times), "ORC-15, ORC-9, MSH-7" },
	{ "association_times", offsetof(struct gw_hl7_mapping, association_times), "OBR-7, MSH-7" },
	{ "dissociation_times", offsetof(struct gw_hl7_mapping, dissociation_times), "OBR-8, OBR-7, MSH-7" },
};

static struct gw_hl7_paths *
list_of(struct gw_hl7_mapping *mapping, size_t i)
{
	return (struct gw_hl7_paths *)((char *)mapping + lists[i].offset);
}

// Codes with commas between, into `max` places of `size` bytes.
static enum gw_error
set_codes(const char *name, struct gw_span value, char *codes, size_t size, size_t max, size_t *count, struct gw_why *why)
{
	*count = 0;
	for (size_t i = 0, from; i < value.len; i++) {
		for (from = i; i < value.len && value.at[i] != ',' && value.at[i] != ' ';)
			i++;
		if (i == from)
			continue;
		if (i - from >= size)
			return gw_fail(why, GW_E_CONFIG, "%s: a code has at most %zu bytes", name, size - 1);
		if (*count == max)
			return gw_fail(why, GW_E_CONFIG, "%s: at most %zu codes", name, max);
		memcpy(codes + *count * size, value.at + from, i - from);
		codes[(*count)++ * size + i - from] = '\0';
	}
	return GW_OK;
}

static enum gw_error
set_services(struct gw_hl7_mapping *mapping, struct gw_span value, struct gw_why *why)
{
	return set_codes("services", value, mapping->services[0], sizeof(mapping->services[0]), GW_HL7_SERVICES_MAX, &mapping->service_count, why);
}

static enum gw_error
set_patient_not(struct gw_hl7_mapping *mapping, struct gw_span value, struct gw_why *why)
{
	return set_codes("patient_not", value, mapping->patient_not[0], sizeof(mapping->patient_not[0]), GW_HL7_TYPES_MAX, &mapping->patient_not_count, why);
}

static enum gw_error
set_components(struct gw_hl7_mapping *mapping, struct gw_span value, struct gw_why *why)
{
	mapping->bed_components = 0;
	for (size_t i = 0; i < value.len; i++) {
		if (value.at[i] >= '1' && value.at[i] <= '4')
			mapping->bed_components |= (uint8_t)(1 << (value.at[i] - '1'));
		else if (value.at[i] != ',' && value.at[i] != ' ')
			return gw_fail(why, GW_E_CONFIG, "bed_components: numbers from 1 to 4, commas between");
	}
	return mapping->bed_components != 0 ? GW_OK : gw_fail(why, GW_E_CONFIG, "bed_components: numbers from 1 to 4, commas between");
}

static enum gw_error
set_needs(struct gw_hl7_mapping *mapping, struct gw_span value, struct gw_why *why)
{
	if (value.len != 1 || value.at[0] < '0' || value.at[0] > '4')
		return gw_fail(why, GW_E_CONFIG, "bed_needs: a component from 1 to 4, or 0");
	mapping->bed_needs = (uint8_t)(value.at[0] - '0');
	return GW_OK;
}

static enum gw_error
set_processing(struct gw_hl7_mapping *mapping, struct gw_span value, struct gw_why *why)
{
	if (value.len == 0 || value.len >= sizeof(mapping->processing) || memchr(value.at, 0, value.len) != NULL)
		return gw_fail(why, GW_E_CONFIG, "processing: letters of MSH-11 that are taken, such as P or PT");
	memcpy(mapping->processing, value.at, value.len);
	mapping->processing[value.len] = '\0';
	return GW_OK;
}

void
gw_hl7_mapping_init(struct gw_hl7_mapping *mapping)
{
	*mapping = (struct gw_hl7_mapping){ .bed_components = 15, .bed_needs = 3, .processing = "P" };
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		(void)!gw_hl7_paths_parse(gw_span_text(lists[i].text), list_of(mapping, i), NULL);
	(void)!set_patient_not(mapping, gw_span_text("AN, ANC, AND, ANT, VN, GI, GN, SN"), NULL);
}

static const struct {
	const char *name;
	enum gw_error (*set)(struct gw_hl7_mapping *mapping, struct gw_span value, struct gw_why *why);
} others[] = {
	{ "services", set_services },
	{ "patient_not", set_patient_not },
	{ "bed_components", set_components },
	{ "bed_needs", set_needs },
	{ "processing", set_processing },
};

enum gw_error
gw_hl7_mapping_set(struct gw_hl7_mapping *mapping, const char *name, struct gw_span value, struct gw_why *why)
{
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		if (strcmp(name, lists[i].name) == 0)
			return gw_hl7_paths_parse(value, list_of(mapping, i), why);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (strcmp(name, others[i].name) == 0)
			return others[i].set(mapping, value, why);
	return gw_fail(why, GW_E_NOT_FOUND, "no part of the mapping is called \"%s\"", name);
}

// SPDX-License-Identifier: Apache-2.0
// A person as it lies in memory and in its row: u8 number of identifiers, each as three texts, then eight texts; a text is u8 length and its bytes.
// Whoever holds both locks of gateway/patients_internal.h for taking; pure otherwise.
#include "gateway/patients_internal.h"

#include <stdlib.h>

static const uint8_t text_max[8] = { 64, 64, 64, 32, 32, 26, 8, 64 };

struct packing {
	uint8_t *at;
	size_t len;
};

static struct gw_span
take(struct gw_span *rest)
{
	struct gw_span text = gw_span(NULL, 0);

	if (rest->len == 0 || rest->len - 1 < rest->at[0]) {
		rest->len = 0;
		return text;
	}
	text = gw_span(rest->at + 1, rest->at[0]);
	*rest = gw_span(text.at + text.len, rest->len - 1 - text.len);
	return text;
}

void
gw_person_unpack(struct gw_span packed, struct person *person)
{
	person->identifier_count = 0;
	memset(person->texts, 0, sizeof(person->texts));
	if (packed.len == 0)
		return;
	person->identifier_count = packed.at[0] <= GW_IDENTIFIERS_MAX ? packed.at[0] : GW_IDENTIFIERS_MAX;
	packed = gw_span(packed.at + 1, packed.len - 1);
	for (size_t i = 0; i < person->identifier_count; i++) {
		person->identifiers[i].id = take(&packed);
		person->identifiers[i].authority = take(&packed);
		person->identifiers[i].type = take(&packed);
	}
	for (size_t i = 0; i < 8; i++)
		person->texts[i] = take(&packed);
}

bool
gw_person_check(struct gw_span packed)
{
	size_t at = 1, texts;

	if (packed.len == 0)
		return true;
	if (packed.at[0] > GW_IDENTIFIERS_MAX || packed.len > PERSON_BYTES_MAX)
		return false;
	texts = packed.at[0] * 3u + 8;
	for (size_t i = 0; i < texts; i++) {
		if (at >= packed.len)
			return false;
		at += 1u + packed.at[at];
	}
	return at == packed.len;
}

static void
pack_text(struct packing *out, struct gw_span text)
{
	out->at[out->len++] = (uint8_t)text.len;
	if (text.len > 0)
		memcpy(out->at + out->len, text.at, text.len);
	out->len += text.len;
}

static void
pack(struct packing *out, const struct person *person)
{
	out->at[out->len++] = (uint8_t)person->identifier_count;
	for (size_t i = 0; i < person->identifier_count; i++) {
		pack_text(out, person->identifiers[i].id);
		pack_text(out, person->identifiers[i].authority);
		pack_text(out, person->identifiers[i].type);
	}
	for (size_t i = 0; i < 8; i++)
		pack_text(out, person->texts[i]);
}

// Cut at a character's begin.
static struct gw_span
cut(struct gw_span text, size_t max)
{
	if (text.len <= max)
		return text;
	while (max > 0 && (text.at[max] & 0xC0) == 0x80)
		max--;
	return gw_span(text.at, max);
}

static bool
same_identifier(const struct gw_identifier *a, const struct gw_identifier *b)
{
	return gw_span_equal(a->id, b->id) && gw_span_equal(a->authority, b->authority);
}

// Adds those that nobody has; another patient's stay where they are.
static void
take_identifiers(struct gw_patients *patients, const struct gw_person *said, struct person *person)
{
	for (size_t i = 0; i < said->identifier_count; i++) {
		const struct gw_identifier *one = &said->identifiers[i];
		size_t at = 0;

		while (at < person->identifier_count && !same_identifier(&person->identifiers[at], one))
			at++;
		if (at < person->identifier_count) {
			if (one->type.len > 0)
				person->identifiers[at].type = cut(one->type, 16);
			continue;
		}
		if (at == GW_IDENTIFIERS_MAX || gw_patient_by_identifier(patients, one) != NULL)
			continue;
		person->identifiers[at] = *one;
		person->identifiers[at].type = cut(one->type, 16);
		person->identifier_count++;
	}
}

bool
gw_person_index(struct gw_patients *patients, struct patient *patient, bool in)
{
	struct person person;
	bool good = true;

	gw_person_unpack(gw_span(patient->person, patient->person_len), &person);
	for (size_t i = 0; i < person.identifier_count; i++) {
		uint64_t hash = gw_patients_hash(patients, person.identifiers[i].id, person.identifiers[i].authority);

		if (in)
			good &= gw_table_add(&patients->by_identifier, hash, patient);
		else
			gw_table_remove(&patients->by_identifier, hash, patient);
	}
	return good;
}

static bool
replace(struct gw_patients *patients, struct patient *patient, const struct person *person)
{
	uint8_t bytes[PERSON_BYTES_MAX], *copy;
	struct packing out = { bytes, 0 };

	pack(&out, person);
	if (out.len == patient->person_len && memcmp(out.at, patient->person, out.len) == 0)
		return false;
	copy = malloc(out.len);
	if (copy == NULL) {
		patients->failed = true;
		return false;
	}
	memcpy(copy, bytes, out.len);
	(void)gw_person_index(patients, patient, false);
	free(patient->person);
	patient->person = copy;
	patient->person_len = (uint16_t)out.len;
	if (!gw_person_index(patients, patient, true))
		patients->failed = true;
	return true;
}

bool
gw_person_take(struct gw_patients *patients, struct patient *patient, const struct gw_person *said, bool newer)
{
	const struct gw_span texts[8] = { said->family, said->given, said->middle, said->suffix, said->prefix, said->birth, said->sex, said->account };
	struct person person;

	gw_person_unpack(gw_span(patient->person, patient->person_len), &person);
	take_identifiers(patients, said, &person);
	for (size_t i = 0; i < 8; i++) {
		if (texts[i].len == 0 || (!newer && person.texts[i].len > 0))
			continue;
		person.texts[i] = gw_span_is(texts[i], "\"\"") ? gw_span(NULL, 0) : cut(texts[i], text_max[i]);
	}
	return replace(patients, patient, &person);
}

bool
gw_person_drop(struct gw_patients *patients, struct patient *patient, const struct gw_identifier *identifier)
{
	struct person person;

	gw_person_unpack(gw_span(patient->person, patient->person_len), &person);
	for (size_t i = 0; i < person.identifier_count; i++) {
		if (!same_identifier(&person.identifiers[i], identifier))
			continue;
		memmove(&person.identifiers[i], &person.identifiers[i + 1], (person.identifier_count - i - 1) * sizeof(person.identifiers[0]));
		person.identifier_count--;
		return replace(patients, patient, &person);
	}
	return false;
}

// SPDX-License-Identifier: Apache-2.0
// The choice: the header tells the rule.
#include "adapters/hl7/pick.h"

#define SEEN_BITS 4096 // devices with a message before, by hash: two that share a bit only wait for each other

struct seen {
	uint64_t bits[SEEN_BITS / 64];
	bool unknown; // a message of an unknown device came: nothing may overtake it
};

// Whether a message of the device stands before; marks it.
static bool
behind(struct seen *seen, const struct gw_hl7_message *message)
{
	uint64_t bit = message->device % SEEN_BITS, mask = 1ull << (bit % 64);
	bool marked = seen->unknown || (seen->bits[bit / 64] & mask) != 0;

	if (message->device == 0)
		seen->unknown = true;
	seen->bits[bit / 64] |= mask;
	return marked;
}

static void
fill(struct gw_hl7_pick *pick, int64_t mono_us)
{
	if (pick->filled_us == 0 || pick->old_per_s == 0)
		pick->allowance = 1;
	else
		pick->allowance += (double)(mono_us - pick->filled_us) * pick->old_per_s / 1e6;
	if (pick->allowance > 1)
		pick->allowance = 1;
	pick->filled_us = mono_us;
}

// The link that leads to the first message of either lane.
static void
find(const struct gw_hl7_pick *pick, struct gw_hl7_outbox *outbox, int64_t wall_us, struct gw_hl7_message ***new_one, struct gw_hl7_message ***old_one)
{
	struct seen seen = { .unknown = false };

	*new_one = *old_one = NULL;
	for (struct gw_hl7_message **link = &outbox->first; *link != NULL && *new_one == NULL; link = &(*link)->next) {
		const struct gw_hl7_message *message = *link;
		bool first_in_list = link == &outbox->first;
		int64_t since_us = message->received_us != 0 ? message->received_us : message->made_us;

		if (behind(&seen, message) || (message->device == 0 && !first_in_list))
			continue;
		if (wall_us - since_us <= pick->old_us)
			*new_one = link;
		else if (*old_one == NULL)
			*old_one = link;
		if (seen.unknown)
			return;
	}
}

static void
to_front(struct gw_hl7_outbox *outbox, struct gw_hl7_message **link)
{
	struct gw_hl7_message *message = *link;

	if (message == outbox->first)
		return;
	*link = message->next;
	if (outbox->last == &message->next)
		outbox->last = link;
	message->next = outbox->first;
	outbox->first = message;
}

bool
gw_hl7_pick(struct gw_hl7_pick *pick, struct gw_hl7_outbox *outbox, int64_t wall_us, int64_t mono_us, int64_t *wait_us)
{
	struct gw_hl7_message **new_one, **old_one;
	bool old;

	fill(pick, mono_us);
	find(pick, outbox, wall_us, &new_one, &old_one);
	old = old_one != NULL && pick->allowance >= 1 && !(pick->old_last && new_one != NULL);
	*wait_us = new_one == NULL && old_one == NULL ? INT64_MAX : (int64_t)((1 - pick->allowance) * 1e6 / (pick->old_per_s > 0 ? pick->old_per_s : 1)) + 1;
	if (!old && new_one == NULL)
		return false;
	pick->old_last = old;
	if (old && pick->old_per_s != 0)
		pick->allowance -= 1;
	to_front(outbox, old ? old_one : new_one);
	return true;
}

// SPDX-License-Identifier: Apache-2.0
// The choice: the header tells the rule.
#include "adapters/hl7/pick.h"

// A thread wakes up a little late each time: what it missed meanwhile is made good, up to a twentieth of a second's.
static void
fill(struct gw_hl7_pick *pick, int64_t mono_us)
{
	double most = 1 + pick->backlog_per_s / 20.0;

	if (pick->filled_us == 0 || pick->backlog_per_s == 0)
		pick->allowance = 1;
	else
		pick->allowance += (double)(mono_us - pick->filled_us) * pick->backlog_per_s / 1e6;
	if (pick->allowance > most)
		pick->allowance = most;
	pick->filled_us = mono_us;
}

// The link that leads to the lane's first message; NULL for none.
static struct gw_hl7_message **
first_of(struct gw_hl7_outbox *outbox, bool backlog)
{
	for (struct gw_hl7_message **link = &outbox->first; *link != NULL; link = &(*link)->next)
		if ((*link)->backlog == backlog)
			return link;
	return NULL;
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
gw_hl7_pick(struct gw_hl7_pick *pick, struct gw_hl7_outbox *outbox, int64_t mono_us, int64_t *wait_us)
{
	struct gw_hl7_message **live = first_of(outbox, false), **backlog = outbox->of_backlog > 0 ? first_of(outbox, true) : NULL;
	bool old;

	fill(pick, mono_us);
	old = backlog != NULL && pick->allowance >= 1 && !(pick->backlog_last && live != NULL);
	*wait_us = backlog == NULL ? INT64_MAX
	    : (int64_t)((1 - pick->allowance) * 1e6 / (pick->backlog_per_s > 0 ? pick->backlog_per_s : 1)) + 1;
	if (!old && live == NULL)
		return false;
	pick->backlog_last = old;
	if (old && pick->backlog_per_s != 0)
		pick->allowance -= 1;
	to_front(outbox, old ? backlog : live);
	return true;
}

// SPDX-License-Identifier: Apache-2.0
// What a request's options say, in one pass. The adapter's thread; no allocation, nothing outside of the caller's memory. Options that libcoap does not
// know and that are critical were refused before (4.02, RFC 7252 section 5.4.1).
#include "adapters/coap/coap.h"

static void
read_uint(struct gw_coap_ask *ask, struct gw_span value, uint32_t *number)
{
	if (!gw_coap_uint(value, number))
		ask->bad = true;
}

static void
read_block(struct gw_coap_ask *ask, struct gw_span value, uint32_t *block, bool *has)
{
	*has = true;
	if (value.len > 3)
		ask->bad = true;
	else
		read_uint(ask, value, block);
}

static void
read_no_response(struct gw_coap_ask *ask, struct gw_span value)
{
	ask->no_response = value.len == 1 ? value.at[0] : 0;
}

static void
read_option(struct gw_coap_ask *ask, struct gw_coap_route *route, coap_option_num_t number, struct gw_span value)
{
	switch (number) {
	case COAP_OPTION_URI_PATH:
		ask->bad |= !gw_coap_route_add(route, value);
		break;
	case COAP_OPTION_CONTENT_FORMAT:
		read_uint(ask, value, &ask->content_format);
		break;
	case COAP_OPTION_ACCEPT:
		read_uint(ask, value, &ask->accept);
		break;
	case COAP_OPTION_BLOCK1:
		read_block(ask, value, &ask->block1, &ask->has_block1);
		break;
	case COAP_OPTION_BLOCK2:
		read_block(ask, value, &ask->block2, &ask->has_block2);
		break;
	case COAP_OPTION_SIZE1:
		read_uint(ask, value, &ask->size1);
		break;
	case COAP_OPTION_RTAG:
		ask->tag_hash = gw_coap_hash(ask->tag_hash + 1, value.at, value.len);
		break;
	case COAP_OPTION_IF_MATCH:
	case COAP_OPTION_IF_NONE_MATCH:
		ask->precondition = true;
		break;
	case COAP_OPTION_NORESPONSE:
		read_no_response(ask, value);
		break;
	default:
		break; // elective, or already refused by libcoap
	}
}

void
gw_coap_ask_read(const coap_pdu_t *request, struct gw_coap_ask *ask, struct gw_coap_route *route)
{
	coap_opt_iterator_t iterator;
	coap_opt_t *option;

	*ask = (struct gw_coap_ask){ .content_format = GW_CF_NONE, .accept = UINT32_MAX };
	route->len = 0;
	coap_option_iterator_init(request, &iterator, COAP_OPT_ALL);
	while ((option = coap_option_next(&iterator)) != NULL)
		read_option(ask, route, iterator.number, gw_span(coap_opt_value(option), coap_opt_length(option)));
	// A slash at the end of an URI is an empty segment, and names the same thing.
	ask->route = gw_span(route->text, route->len);
	if (route->len > 0 && route->text[route->len - 1] == '/')
		ask->route.len--;
}

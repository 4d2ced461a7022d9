// SPDX-License-Identifier: Apache-2.0
// Containment: tables only.
#include "adapters/hl7/containment.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define INSTANCE_STEP 100

// Place in the table + 1 is the number on the wire: only add at the end.
static const uint32_t vmds[] = {
	69798, // MDC_DEV_ECG_VMD
	70666, // MDC_DEV_ECG_RESP_VMD
	69642, // MDC_DEV_ANALY_SAT_O2_VMD
	70686, // MDC_DEV_PRESS_BLD_NONINV_VMD
	69854, // MDC_DEV_METER_PRESS_BLD_VMD
	69902, // MDC_DEV_METER_TEMP_VMD
	70002, // MDC_DEV_SYS_PT_VENT_VMD
	69986, // MDC_DEV_PUMP_INFUS_VMD
	70050, // MDC_DEV_PUMP_INFUS_LVP_VMD
	70054, // MDC_DEV_PUMP_INFUS_SYRINGE_VMD
};
static const uint32_t channels[] = {
	69799, // MDC_DEV_ECG_CHAN
	70667, // MDC_DEV_ECG_RESP_CHAN
	70739, // MDC_DEV_CARD_RATE_CHAN
	69643, // MDC_DEV_ANALY_SAT_O2_CHAN
	70675, // MDC_DEV_PULS_CHAN
	70687, // MDC_DEV_PRESS_BLD_NONINV_CHAN
	69855, // MDC_DEV_METER_PRESS_BLD_CHAN
	69903, // MDC_DEV_METER_TEMP_CHAN
	70067, // MDC_DEV_PUMP_DELIVERY_INFO
	70071, // MDC_DEV_PUMP_INFUSATE_SOURCE_PRIMARY
};

// A code that is not in the table has its term code, which is larger than any place.
static uint32_t
number_of(const uint32_t *table, size_t count, uint32_t code)
{
	for (size_t i = 0; i < count; i++)
		if (table[i] == code)
			return (uint32_t)i + 1;
	return code & 0xffff;
}

void
gw_hl7_place(uint32_t code, uint16_t instance, struct gw_hl7_place *place)
{
	const struct gw_signal *signal = gw_signal_by_code(code);

	*place = (struct gw_hl7_place){ .metric = code, .channel = (uint32_t)instance * INSTANCE_STEP };
	if (signal == NULL || signal->vmd_code == 0)
		return;
	place->vmd_code = signal->vmd_code;
	place->vmd_refid = signal->vmd_refid;
	place->vmd = number_of(vmds, LENGTH(vmds), signal->vmd_code);
	if (signal->channel_code == 0)
		return;
	place->channel_code = signal->channel_code;
	place->channel_refid = signal->channel_refid;
	place->channel += number_of(channels, LENGTH(channels), signal->channel_code);
}

#define MDS_MONITOR 69965 // MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS

uint32_t
gw_hl7_mds(const struct gw_profile *profile)
{
	static const struct { uint32_t vmd, mds; } kinds[] = {
		{ 70002, 70001 }, // MDC_DEV_SYS_PT_VENT_MDS
		{ 69986, 69985 }, // MDC_DEV_PUMP_INFUS_MDS
		{ 70050, 70049 }, // MDC_DEV_PUMP_INFUS_LVP_MDS
		{ 70054, 70053 }, // MDC_DEV_PUMP_INFUS_SYRINGE_MDS
		{ 69642, 69641 }, // MDC_DEV_ANALY_SAT_O2_MDS
	};
	const struct gw_signal *signal;
	uint32_t vmd = 0;
	uint16_t instance;

	for (size_t i = 0; profile != NULL && gw_profile_signal(profile, i, &signal, &instance); i++) {
		if (signal->vmd_code == 0)
			continue;
		if (vmd != 0 && vmd != signal->vmd_code)
			return MDS_MONITOR;
		vmd = signal->vmd_code;
	}
	for (size_t i = 0; i < LENGTH(kinds); i++)
		if (kinds[i].vmd == vmd)
			return kinds[i].mds;
	return MDS_MONITOR;
}

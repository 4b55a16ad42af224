-- Everything that is known of a person in one row: all classes, where they contradict, what to do first and why, what may
-- be sent and where. The one action follows the precedence of C-24, which is the priority of the playbook.
{% set channels = ['email', 'sms', 'wechat', 'push', 'call', 'ads'] %}
with policy as (
    select * from {{ ref('int_run_policy') }}
),

actions as (
    select
        playbook.*,
        steps.step,
        row_number() over (order by playbook.priority, playbook.scheme, playbook.class) as place
    from {{ ref('int_playbook') }} as playbook
    inner join {{ ref('action_steps') }} as steps
        on playbook.priority between steps.priority_from and steps.priority_to
),

cases as (
    select
        max(case when class = 'no_consent' then place end) as no_consent_place,
        max(case when class = 'open_complaint' then place end) as open_complaint_place
    from actions
    where scheme = 'case'
),

-- Two bits a conflict, one for each of its sides.
conflicts as (
    select
        class_conflicts.*,
        {{ bit_of('2 * row_number() over (order by conflict) - 2') }} as bit_1,
        {{ bit_of('2 * row_number() over (order by conflict) - 1') }} as bit_2
    from {{ ref('class_conflicts') }} as class_conflicts
),

conflict_sides as (
    {%- for side in [1, 2] %}
    select labels.scheme, labels.class, conflicts.bit_{{ side }} as bit
    from conflicts
    inner join {{ ref('int_segment_labels') }} as labels
        on conflicts.scheme_{{ side }} = labels.scheme
        and '|' || conflicts.classes_{{ side }} || '|' like '%|' || labels.class || '|%'
    {{ 'union all' if not loop.last }}
    {%- endfor %}
),

sides as (
    select scheme, class, bit_or(bit) as bits from conflict_sides
    group by scheme, class
),

-- What a class brings along.
coded as (
    select labels.scheme, labels.class, actions.place, actions.service_level, sides.bits
    from {{ ref('int_segment_labels') }} as labels
    left join actions on labels.scheme = actions.scheme and labels.class = actions.class
    left join sides on labels.scheme = sides.scheme and labels.class = sides.class
),

-- A class that the figures give today may have to hold first (P-16): until then the one before it is shown.
pending as (
    select customer_key, scheme, previous_class as class
    from {{ ref('class_history') }}
    where valid_to is null and published_from is null
),

pending_classes as (
    select
        customer_key
        {%- for scheme in class_columns() %},
        max(case when scheme = '{{ scheme }}' then class end) as {{ scheme }}_class
        {%- endfor %}
    from pending
    group by customer_key
),

shown as (
    select
        computed.customer_key
        {%- for scheme in class_columns() %},
        coalesce(pending_classes.{{ scheme }}_class, computed.{{ scheme }}_class) as {{ scheme }}_class
        {%- endfor %}
    from {{ ref('int_customer_classes') }} as computed
    left join pending_classes on computed.customer_key = pending_classes.customer_key
),

custom_classes as (
    select
        members.customer_key,
        min(coded.place) as place,
        bit_or(coded.bits) as bits
    from {{ ref('int_custom_segment_members') }} as members
    left join pending on members.customer_key = pending.customer_key and 'custom:' || members.segment = pending.scheme
    inner join coded on 'custom:' || members.segment = coded.scheme
        and coalesce(pending.class, members.class) = coded.class
    group by members.customer_key
),

classes as (
    select
        shown.*,
        value_codes.service_level,
        least(
            custom_classes.place
            {%- for scheme in class_columns() %}, {{ scheme }}_codes.place{% endfor %}
        ) as class_place,
        coalesce(custom_classes.bits, 0)
        {%- for scheme in class_columns() %} | coalesce({{ scheme }}_codes.bits, 0){% endfor %} as bits
    from shown
    left join custom_classes on shown.customer_key = custom_classes.customer_key
    {%- for scheme in class_columns() %}
    left join coded as {{ scheme }}_codes
        on {{ scheme }}_codes.scheme = '{{ scheme }}' and shown.{{ scheme }}_class = {{ scheme }}_codes.class
    {%- endfor %}
),

-- The same few combinations of conflicts again and again: each is spelt once.
conflicting as (
    select found.bits, {{ dbt.listagg('conflicts.conflict', "'|'", 'order by conflicts.conflict') }} as conflict_flags
    from (select distinct bits from classes where bits <> 0) as found
    inner join conflicts on found.bits & (conflicts.bit_1 | conflicts.bit_2) = (conflicts.bit_1 | conflicts.bit_2)
    group by found.bits
),

custom as (
    select customer_key, {{ dbt.listagg('segment', "'|'", 'order by segment') }} as custom_segments
    from {{ ref('int_custom_segment_members') }}
    where class = 'member'
    group by customer_key
),

complaints as (
    select customer_key, count(*) as open_complaints_n
    from {{ ref('fct_tickets') }}
    where is_open and ticket_type = 'complaint' and customer_key is not null
    group by customer_key
),

-- What hurts: the topic of the last complaint, of several of one day the first by name.
pains as (
    select tickets.customer_key, tickets.topic,
        row_number() over (partition by tickets.customer_key order by tickets.created_date desc, tickets.topic) as nth
    from {{ ref('fct_tickets') }} as tickets
    inner join policy on tickets.created_date >= {{ date_minus('policy.as_of_date', 'policy.pain_valid_days') }}
    where tickets.ticket_type = 'complaint' and tickets.customer_key is not null and tickets.topic is not null
),

delivered as (
    select
        customer_key,
        channel,
        count(*) as delivered_n,
        count(*) filter (where is_opened or is_clicked) as reactions_n
    from {{ ref('int_messages') }}
    where is_delivered or is_opened or is_clicked
    group by customer_key, channel
),

-- S3-23: of the channels by which the person may be addressed the one that she answers best, her own rate shrunk towards
-- that of all. No feed states a wish. A channel that nobody answers is not preferred.
reactions as (
    select
        delivered.customer_key,
        delivered.channel,
        row_number() over (
            partition by delivered.customer_key
            order by
                (delivered.reactions_n + policy.channel_shrink_weight * everybody.rate)
                    / (delivered.delivered_n + policy.channel_shrink_weight) desc,
                delivered.channel
        ) as nth
    from delivered
    cross join policy
    cross join (select {{ rate('sum(reactions_n)', 'sum(delivered_n)') }} as rate from delivered) as everybody
    inner join {{ ref('int_customer_consents') }} as consents using (customer_key)
    where delivered.reactions_n > 0 and delivered.delivered_n >= policy.channel_delivered_min
        and case delivered.channel
            {%- for channel in channels %} when '{{ channel }}' then consents.consent_{{ channel }}{% endfor %}
        end
),

-- The hour in which messages are opened; of equally frequent ones the earlier.
reaction_hours as (
    select customer_key, min_by(reacted_hour, (-n, reacted_hour)) as reacted_hour
    from (
        select customer_key, reacted_hour, count(*) as n from {{ ref('int_messages') }}
        where reacted_hour is not null
        group by customer_key, reacted_hour
    ) as counted
    group by customer_key
),

messaged as (
    select customer_key, max(sent_date) as last_message_date from {{ ref('int_messages') }}
    group by customer_key
),

cared as (
    select links.customer_key, max(contacts.contacted_date) as last_care_date
    from {{ ref('stg_leads__contact_log') }} as contacts
    inner join {{ ref('int_customer_links') }} as links
        on contacts.source = links.source and contacts.source_customer_id = links.source_customer_id
        and links.is_current
    inner join policy on contacts.contacted_date < policy.as_of_date
    group by links.customer_key
),

care_log as (
    select count(*) > 0 as is_kept from {{ ref('stg_leads__contact_log') }}
),

joined as (
    select
        facts.customer_key,
        facts.as_of_date,
        {%- for scheme in class_columns() %}
        classes.{{ scheme }}_class,
        {%- endfor %}
        classes.service_level,
        facts.recency_days,
        facts.purchase_days_n,
        facts.frequency_abc,
        facts.revenue_abc,
        facts.profit_abc,
        loyalty.attitude_class,
        case when said.stated_reason <> 'unknown' then said.stated_reason end as intent_reason,
        pains.topic as pain_topic,
        case when facts.orders_rfm > 0 then round({{ rate('facts.monetary_rfm', 'facts.orders_rfm') }}, 2) end
            as basket_revenue,
        habits.lines_per_order,
        habits.weekday,
        habits.ordered_hour,
        habits.life_scenes,
        loyalty.main_category,
        brands.main_category_share,
        loyalty.top_brand,
        loyalty.top_brand_share,
        reaction_hours.reacted_hour,
        people.profile_filled_n,
        people.profile_required_n,
        clv.clv_12m,
        unrated.orders_n as unrated_orders_n,
        unrated.currency as unrated_currency,
        affinity.top_category,
        affinity.next_category,
        lifecycle.expected_gap,
        lifecycle.churn_days,
        custom.custom_segments,
        conflicting.conflict_flags,
        coalesce(complaints.open_complaints_n, 0) as open_complaints_n,
        coalesce(consents.has_marketing, false) as has_marketing,
        coalesce(consents.has_profiling, false) as has_profiling,
        {%- for channel in channels %}
        coalesce(consents.consent_{{ channel }}, false) as consent_{{ channel }},
        {%- endfor %}
        consents.refused_channels,
        reactions.channel as preferred_channel,
        greatest(messaged.last_message_date, cared.last_care_date) as last_contact_date,
        coalesce(pressure.messages_7d, 0) as messages_7d,
        coalesce(pressure.messages_30d, 0) as messages_30d,
        coalesce(pressure.is_capped, false) as is_capped,
        pressure.suppress_until,
        cared.last_care_date,
        case
            when not care_log.is_kept then null
            when classes.value_class = 'high' then policy.care_high_days
            when classes.value_class = 'mid' then policy.care_mid_days
        end as care_interval_days,
        coalesce(cared.last_care_date, facts.first_purchase_date) as cared_since,
        case
            when not coalesce(consents.has_marketing and consents.has_profiling, false) then cases.no_consent_place
            when complaints.open_complaints_n > 0 then cases.open_complaint_place
            else classes.class_place
        end as place,
        facts.policy_version
    from {{ ref('int_customer_facts') }} as facts
    cross join policy
    cross join cases
    cross join care_log
    inner join classes using (customer_key)
    inner join {{ ref('customer_lifecycle') }} as lifecycle using (customer_key)
    inner join {{ ref('customer_loyalty') }} as loyalty using (customer_key)
    inner join {{ ref('customer_clv') }} as clv using (customer_key)
    inner join {{ ref('customer_affinity') }} as affinity using (customer_key)
    inner join {{ ref('customer_willingness') }} as said using (customer_key)
    inner join {{ ref('dim_customers') }} as people using (customer_key)
    left join {{ ref('int_customer_habits') }} as habits using (customer_key)
    left join {{ ref('int_customer_brands') }} as brands using (customer_key)
    left join pains on facts.customer_key = pains.customer_key and pains.nth = 1
    left join {{ ref('int_customers_unrated') }} as unrated on facts.customer_key = unrated.customer_key
    left join reaction_hours on facts.customer_key = reaction_hours.customer_key
    left join custom using (customer_key)
    left join conflicting on classes.bits = conflicting.bits
    left join complaints using (customer_key)
    left join {{ ref('int_customer_consents') }} as consents using (customer_key)
    left join reactions on facts.customer_key = reactions.customer_key and reactions.nth = 1
    left join messaged on facts.customer_key = messaged.customer_key
    left join {{ ref('contact_pressure') }} as pressure on facts.customer_key = pressure.customer_key
    left join cared on facts.customer_key = cared.customer_key
)

select
    joined.customer_key,
    joined.as_of_date,
    {%- for scheme in class_columns() %}
    joined.{{ scheme }}_class,
    {%- endfor %}
    joined.custom_segments,
    joined.conflict_flags,
    actions.step as action_step,
    actions.scheme as action_scheme,
    actions.class as action_class,
    actions.action_code,
    actions.action_zh,
    actions.action_en,
    actions.channel_hint,
    joined.service_level,
    joined.intent_reason as need_intent_reason,
    joined.pain_topic as need_pain_topic,
    joined.recency_days as behaviour_recency_days,
    cast(joined.purchase_days_n as integer) as behaviour_purchase_days,
    cast(joined.frequency_abc as integer) as behaviour_purchase_days_365,
    joined.revenue_abc as behaviour_revenue_365,
    joined.profit_abc as behaviour_profit_365,
    joined.expected_gap as behaviour_expected_gap,
    joined.churn_days as behaviour_churn_days,
    joined.clv_12m as behaviour_clv_12m,
    cast(coalesce(joined.unrated_orders_n, 0) as integer) as behaviour_unrated_orders,
    joined.unrated_currency as behaviour_unrated_currency,
    cast(joined.basket_revenue as decimal(18, 4)) as behaviour_basket_revenue,
    joined.lines_per_order as behaviour_basket_lines,
    joined.weekday as behaviour_weekday,
    joined.ordered_hour as behaviour_hour,
    joined.life_scenes,
    joined.attitude_class as preference_attitude,
    joined.main_category as preference_main_category,
    joined.main_category_share as preference_main_category_share,
    joined.top_brand as preference_brand,
    joined.top_brand_share as preference_brand_share,
    joined.reacted_hour as preference_contact_hour,
    joined.top_category as preference_top_category,
    joined.next_category as preference_next_category,
    cast(joined.open_complaints_n as integer) as open_complaints_n,
    joined.has_marketing,
    joined.has_profiling,
    {%- for channel in channels %}
    joined.consent_{{ channel }},
    {%- endfor %}
    joined.refused_channels,
    joined.preferred_channel,
    joined.last_contact_date,
    joined.messages_7d,
    joined.messages_30d,
    joined.is_capped,
    joined.suppress_until,
    joined.last_care_date,
    {{ date_plus('joined.cared_since', 'joined.care_interval_days') }} as care_due_date,
    greatest({{ days_between(date_plus('joined.cared_since', 'joined.care_interval_days'), 'joined.as_of_date') }}, 0)
        as care_overdue_days,
    joined.profile_filled_n,
    joined.profile_required_n,
    {{ rate('joined.profile_filled_n', 'joined.profile_required_n') }} as profile_completeness,
    joined.policy_version
from joined
left join actions using (place)

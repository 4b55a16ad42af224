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

-- As they are shown: the class that the figures give today may have to hold first (P-16).
shown as (
    select customer_key, scheme, case when published_from is null then previous_class else class end as class
    from {{ ref('class_history') }}
    where valid_to is null
),

labels as (
    select
        scheme,
        class,
        row_number() over (order by scheme, class) as code
    from {{ ref('int_segment_labels') }}
    group by scheme, class
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
    select labels.code, conflicts.bit_{{ side }} as bit
    from conflicts
    inner join labels
        on conflicts.scheme_{{ side }} = labels.scheme
        and '|' || conflicts.classes_{{ side }} || '|' like '%|' || labels.class || '|%'
    {{ 'union all' if not loop.last }}
    {%- endfor %}
),

sides as (
    select code, bit_or(bit) as bits from conflict_sides
    group by code
),

-- What a class brings along, as numbers: a customer has a row per scheme, and texts are dear to compare so often.
coded as (
    select
        labels.scheme,
        labels.class,
        labels.code,
        case labels.scheme
            {%- for scheme in class_columns() %}
            when '{{ scheme }}' then {{ loop.index }}
            {%- endfor %}
            else 0
        end as scheme_no,
        actions.place,
        actions.service_level,
        sides.bits
    from labels
    left join actions on labels.scheme = actions.scheme and labels.class = actions.class
    left join sides on labels.code = sides.code
),

classes as (
    select
        shown.customer_key,
        {%- for scheme in class_columns() %}
        max(case when coded.scheme_no = {{ loop.index }} then coded.code end) as {{ scheme }}_code,
        {%- endfor %}
        min(coded.place) as class_place,
        bit_or(coded.bits) as bits
    from shown
    left join coded on shown.scheme = coded.scheme and shown.class = coded.class
    group by shown.customer_key
),

conflicting as (
    select classes.customer_key, {{ dbt.listagg('conflicts.conflict', "'|'", 'order by conflicts.conflict') }} as conflict_flags
    from classes
    inner join conflicts on classes.bits & (conflicts.bit_1 | conflicts.bit_2) = (conflicts.bit_1 | conflicts.bit_2)
    where classes.bits is not null
    group by classes.customer_key
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

-- Channels by which the person may be addressed, the one that she answers best first.
reactions as (
    select
        messages.customer_key,
        messages.channel,
        row_number() over (
            partition by messages.customer_key
            order by count(*) filter (where messages.is_clicked) desc, count(*) filter (where messages.is_opened) desc,
                messages.channel
        ) as nth
    from {{ ref('int_messages') }} as messages
    inner join {{ ref('int_customer_consents') }} as consents using (customer_key)
    where (messages.is_opened or messages.is_clicked)
        and case messages.channel
            {%- for channel in channels %} when '{{ channel }}' then consents.consent_{{ channel }}{% endfor %}
        end
    group by messages.customer_key, messages.channel
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
        {{ scheme }}_codes.class as {{ scheme }}_class,
        {%- endfor %}
        value_codes.service_level,
        facts.recency_days,
        facts.purchase_days_n,
        facts.frequency_abc,
        facts.revenue_abc,
        facts.profit_abc,
        loyalty.attitude_class,
        clv.clv_12m,
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
        reactions.channel as preferred_channel,
        greatest(messaged.last_message_date, cared.last_care_date) as last_contact_date,
        coalesce(pressure.messages_7d, 0) as messages_7d,
        coalesce(pressure.messages_30d, 0) as messages_30d,
        coalesce(pressure.is_capped, false) as is_capped,
        pressure.suppress_until,
        cared.last_care_date,
        case
            when not care_log.is_kept then null
            when value_codes.class = 'high' then policy.care_high_days
            when value_codes.class = 'mid' then policy.care_mid_days
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
    {%- for scheme in class_columns() %}
    left join coded as {{ scheme }}_codes on classes.{{ scheme }}_code = {{ scheme }}_codes.code
    {%- endfor %}
    inner join {{ ref('customer_lifecycle') }} as lifecycle using (customer_key)
    inner join {{ ref('customer_loyalty') }} as loyalty using (customer_key)
    inner join {{ ref('customer_clv') }} as clv using (customer_key)
    inner join {{ ref('customer_affinity') }} as affinity using (customer_key)
    left join custom using (customer_key)
    left join conflicting using (customer_key)
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
    joined.recency_days as behaviour_recency_days,
    cast(joined.purchase_days_n as integer) as behaviour_purchase_days,
    cast(joined.frequency_abc as integer) as behaviour_purchase_days_365,
    joined.revenue_abc as behaviour_revenue_365,
    joined.profit_abc as behaviour_profit_365,
    joined.expected_gap as behaviour_expected_gap,
    joined.churn_days as behaviour_churn_days,
    joined.clv_12m as behaviour_clv_12m,
    joined.attitude_class as preference_attitude,
    joined.top_category as preference_top_category,
    joined.next_category as preference_next_category,
    cast(joined.open_complaints_n as integer) as open_complaints_n,
    joined.has_marketing,
    joined.has_profiling,
    {%- for channel in channels %}
    joined.consent_{{ channel }},
    {%- endfor %}
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
    joined.policy_version
from joined
left join actions using (place)

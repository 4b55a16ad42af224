-- One class per scheme for people who may be addressed by it: live consent to marketing and to profiling, of age, and
-- no test or staff account. The reason names the figures that decided.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

people as (
    select
        customers.customer_key,
        -- A contact that is stale or has bounced is nobody's to write to (Q-09).
        {%- for channel in ['email', 'sms', 'ads'] %}
        consents.consent_{{ channel }} and customers.contact_status = 'fresh' as consent_{{ channel }}
            {{- ',' if not loop.last }}
        {%- endfor %}
    from {{ ref('dim_customers') }} as customers
    inner join {{ ref('int_customer_consents') }} as consents using (customer_key)
    anti join {{ ref('int_persons_excluded') }} as excluded using (customer_key)
    where consents.has_marketing and consents.has_profiling
        and not customers.is_minor and not customers.is_test and not customers.is_employee
),

reasons as (
    select * from {{ ref('int_class_reasons') }}
),

-- P-16: the class that is shown may lag behind the one that the figures give. A scheme without a history shows the latter.
shown as (
    select
        customer_key,
        scheme,
        case when published_from is null then previous_class else class end as class,
        case when published_from is null or class = previous_class then previous_since else published_from end
            as since_date,
        case when published_from is not null and class <> previous_class then previous_class end as previous_class,
        case when published_from is not null then cause end as change_cause,
        case when published_from is null then class end as pending_class
    from {{ ref('class_history') }}
    where valid_to is null
)

select
    reasons.customer_key,
    reasons.scheme,
    policy.as_of_date,
    coalesce(shown.class, reasons.class) as class,
    labels.label_zh as class_label_zh,
    labels.label_en as class_label_en,
    shown.since_date,
    shown.previous_class,
    shown.change_cause,
    shown.pending_class,
    reasons.is_inferred,
    playbook.service_level,
    playbook.pricing_use_allowed,
    playbook.priority,
    {{ reason_text('zh') }} as reason_zh,
    {{ reason_text('en') }} as reason_en,
    {{ reason_codes() }} as reason_codes,
    playbook.action_zh as recommended_action_zh,
    playbook.action_en as recommended_action_en,
    playbook.channel_hint,
    people.consent_email,
    people.consent_sms,
    people.consent_ads,
    policy.policy_version
from reasons
inner join people using (customer_key)
left join shown on reasons.customer_key = shown.customer_key and reasons.scheme = shown.scheme
cross join policy
left join {{ ref('int_class_templates') }} as templates
    on reasons.scheme = templates.scheme and reasons.reason_code = templates.reason_code
left join {{ ref('int_segment_labels') }} as labels on reasons.scheme = labels.scheme
    and coalesce(shown.class, reasons.class) = labels.class
left join {{ ref('int_playbook') }} as playbook on reasons.scheme = playbook.scheme
    and coalesce(shown.class, reasons.class) = playbook.class

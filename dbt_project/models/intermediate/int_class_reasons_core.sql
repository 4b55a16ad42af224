-- RFM, ABC, value and lifecycle: each class with the code of what decided it and the figures, as text, that its sentence
-- shows. The sentences are rows of class_reasons.
with policy as (
    select lifecycle_half_window_days as half_days, rfm_window_days, abc_window_days from {{ ref('int_run_policy') }}
),

bought as (
    select
        customer_key,
        'rfm' as scheme,
        rfm_segment as class,
        false as is_inferred,
        case
            when no_purchase_reason = 'never_bought' then 'never_bought'
            when no_purchase_reason is not null then 'lapsed'
            when is_monetary_not_positive then 'scored_returned'
            else 'scored'
        end as reason_code,
        cast(recency_days as varchar) as value_1,
        case
            when r_score is not null then cast(frequency_days as varchar)
            when no_purchase_reason <> 'never_bought' then cast(policy.rfm_window_days as varchar)
        end as value_2,
        case when r_score is not null then {{ money_text('monetary') }} end as value_3,
        'R' || r_score || ' F' || f_score || ' M' || m_score as value_4,
        case when r_score is not null then rfm_code end as value_5
    from {{ ref('customer_rfm') }}
    cross join policy
),

ranked as (
    select
        abc.customer_key,
        abc.abc_class,
        value.value_tier,
        abc.profit_is_estimated,
        case
            when abc.abc_class in ('no_purchase_in_window', 'unclassified') then abc.unclassified_reason
            else
                case when abc.is_unprofitable then 'unprofitable' else 'profit_rank' end
                || case when abc.profit_is_estimated then '_estimated' else '' end
        end as reason_code,
        case
            when value.potential_reasons like 'spend_growth%' then '_growing'
            when value.potential_flag then '_willing'
            else ''
        end as potential,
        case
            when abc.worst_rank is not null then {{ money_text('abc.profit_365') }}
            when abc.unclassified_reason = 'no_purchase_in_window' then cast(policy.abc_window_days as varchar)
        end as value_1,
        cast(abc.worst_rank as varchar) as value_2,
        case when abc.worst_rank is not null then cast(abc.n as varchar) end as value_3,
        cast(cast(ceil({{ rate('100 * abc.worst_rank', 'abc.n') }}) as integer) as varchar) as value_4,
        case when value.potential_reasons like 'spend_growth%' then cast(policy.half_days as varchar) end as value_5
    from {{ ref('customer_abc') }} as abc
    inner join {{ ref('customer_value') }} as value using (customer_key)
    cross join policy
),

staged as (
    select
        customer_key,
        stage,
        case
            when stage = 'declining' and recency_days <= decline_days then 'declining_halves'
            else stage
        -- Lost again before the flag has run out, which a policy may allow: to be told is that they are lost.
        end || case when is_reactivated and stage <> 'churned' then '_reactivated' else '' end as reason_code,
        recency_days, purchase_days_n, decline_days, churn_days, f180, f_prev180, m180, m_prev180, policy.half_days
    from {{ ref('customer_lifecycle') }}
    cross join policy
)

select * from bought

union all

select
    customer_key, 'abc' as scheme, abc_class as class, profit_is_estimated as is_inferred, reason_code,
    value_1, value_2, value_3, value_4, cast(null as varchar) as value_5
from ranked

union all

select
    customer_key, 'value' as scheme, value_tier as class, profit_is_estimated as is_inferred,
    reason_code || potential as reason_code, value_1, value_2, value_3, value_4, value_5
from ranked

union all

select
    customer_key,
    'lifecycle' as scheme,
    stage as class,
    false as is_inferred,
    reason_code,
    cast(case when reason_code like 'declining_halves%' then half_days else recency_days end as varchar) as value_1,
    case
        when reason_code like 'declining_halves%' then cast(f180 as varchar)
        when stage <> 'prospect' then cast(purchase_days_n as varchar)
    end as value_2,
    case
        when reason_code like 'declining_halves%' then cast(f_prev180 as varchar)
        when stage <> 'prospect' then cast(cast(floor(decline_days) as integer) as varchar)
    end as value_3,
    case
        when reason_code like 'declining_halves%' then {{ money_text('m180') }}
        when stage <> 'prospect' then cast(cast(floor(churn_days) as integer) as varchar)
    end as value_4,
    case when reason_code like 'declining_halves%' then {{ money_text('m_prev180') }} end as value_5
from staged

-- M-01, M-02. Scores come from cut points, never from the order of rows, so equal values score alike.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

scored as (
    select
        facts.*,
        recency.scoring_mode,
        facts.frequency_rfm > 0 as is_buyer,
        {{ score('-facts.recency_days', 'recency') }} as recency_score,
        {{ score('facts.frequency_rfm', 'frequency') }} as frequency_score,
        case
            when facts.monetary_rfm <= 0 then 1
            else {{ score('cast(facts.monetary_rfm as double)', 'monetary') }}
        end as monetary_score
    from {{ ref('int_customer_facts') }} as facts
    inner join {{ ref('rfm_breakpoints') }} as recency on recency.measure = 'recency'
    inner join {{ ref('rfm_breakpoints') }} as frequency on frequency.measure = 'frequency'
    inner join {{ ref('rfm_breakpoints') }} as monetary on monetary.measure = 'monetary'
),

coded as (
    select
        scored.*,
        case
            when not scored.is_buyer then 'no_purchase_in_window'
            else
                case when recency_score >= policy.rfm_high_score_min then 'H' else 'L' end
                || case
                    when frequency_score >= policy.rfm_high_score_min
                        and frequency_rfm >= policy.rfm_high_frequency_min_days then 'H'
                    else 'L'
                end
                || case when monetary_score >= policy.rfm_high_score_min then 'H' else 'L' end
        end as rfm_code
    from scored
    cross join policy
)

select
    coded.customer_key,
    coded.as_of_date,
    coded.recency_days,
    cast(coded.frequency_rfm as integer) as frequency_days,
    cast(coded.orders_rfm as integer) as orders_n,
    coded.monetary_rfm as monetary,
    cast(case when coded.is_buyer then coded.recency_score end as integer) as r_score,
    cast(case when coded.is_buyer then coded.frequency_score end as integer) as f_score,
    cast(case when coded.is_buyer then coded.monetary_score end as integer) as m_score,
    coded.rfm_code,
    case
        when coded.is_buyer then grid.rfm_segment
        when coded.purchase_days_n = 0 then 'prospects'
        else 'lapsed'
    end as rfm_segment,
    classes.label_seed as rfm_label_seed,
    classes.label_std as rfm_label_std,
    classes.label_en as rfm_label_en,
    case when coded.is_buyer then coded.scoring_mode end as scoring_mode,
    case
        when coded.is_buyer then null
        when coded.purchase_days_n = 0 then 'never_bought'
        else 'lapsed_over_365d'
    end as no_purchase_reason,
    coded.is_buyer and coded.monetary_rfm <= 0 as is_monetary_not_positive,
    coded.policy_version
from coded
left join {{ ref('rfm_grids') }} as grid
    on grid.preset = 'rf25' and coded.is_buyer
    and coded.recency_score = grid.r_score and coded.frequency_score = grid.f_score
left join {{ ref('rfm_classes') }} as classes on coded.rfm_code = classes.rfm_code

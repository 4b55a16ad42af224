-- M-01, M-02, M-02b.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

cells as (
    {{ rfm_cells(ref('rfm_grids'), "'rf25'") }}
),

scored as (
    {{ rfm_scores(ref('int_customer_facts'), ref('rfm_breakpoints')) }}
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
    {{ rfm_segment('coded', 'cells') }} as rfm_segment,
    classes.label_seed as rfm_label_seed,
    classes.label_std as rfm_label_std,
    classes.label_en as rfm_label_en,
    case when coded.is_buyer then coded.scoring_mode end as scoring_mode,
    case
        when coded.is_buyer then null
        when coded.purchase_days_n = 0 then 'never_bought'
        else 'lapsed'
    end as no_purchase_reason,
    coded.is_buyer and coded.monetary_rfm <= 0 as is_monetary_not_positive,
    coded.policy_version
from coded
left join cells on {{ rfm_in_cell('coded', 'cells') }}
left join {{ ref('rfm_classes') }} as classes on coded.rfm_code = classes.rfm_code
